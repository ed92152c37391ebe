// Draws the charts in the colours of the page, and again when these change. Everything it shows stands in the page.
"use strict";
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("figures").textContent);
  const asked = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  let printing = false;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : asked.matches);

  const axis = () => ({
    color: color("--muted"),
    gridcolor: color("--line"),
    linecolor: color("--line"),
    zerolinecolor: color("--line-strong"),
    automargin: true,
  });

  // The figure's own layout over the page's, axis by axis: a figure knows its axes, the page their colours.
  const layout = ({ figure, badge }) => {
    const own = figure.layout;
    const narrow = window.innerWidth < 600;
    const merged = {
      ...own,
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: narrow ? 11 : 13, color: color("--text") },
      hoverlabel: {
        align: "left", namelength: -1,
        bgcolor: color("--surface"), bordercolor: color("--line-strong"), font: { color: color("--text") },
      },
      margin: { l: narrow ? 48 : 64, r: narrow ? 12 : 24, t: 44, b: narrow ? 76 : 48, ...(narrow ? {} : own.margin) },
      legend: { bgcolor: "rgba(0,0,0,0)", ...own.legend, orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--muted"), activecolor: color("--text") },
      annotations: (own.annotations ?? []).filter(({ name }) => !(narrow && name === "short-phase")),
    };
    delete merged.title; // it stands above, as text
    delete merged.height; // that of its place, but for paper, which is measured only when it is too late
    if (printing) Object.assign(merged, { autosize: false, width: 660, height: (own.height ?? 380) * 0.75 });
    if (badge) {
      // Below the title of the axis on a phone, where one reaches under the other, and below marks that lean.
      const below = narrow ? 58 : own.xaxis?.tickangle ? 46 : 30;
      merged.annotations.push({
        text: `<b>${badge}</b>`, name: "badge", showarrow: false, xref: "paper", yref: "paper", x: 1, y: 0,
        xanchor: "right", yanchor: "top", yshift: -below, font: { size: 11, color: color("--muted") },
      });
    }
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(own).filter((key) => /^[xy]axis\d*$/.test(key))])) {
      // With more marks, the width of their texts and the rows of the legend can chase each other where there is little room.
      merged[name] = { ...axis(), ...(narrow && name.startsWith("y") ? { nticks: 5 } : {}), ...own[name] };
    }
    return merged;
  };

  const config = {
    responsive: true, displaylogo: false, showTips: false, displayModeBar: window.innerWidth < 600 ? false : "hover",
    // Named one by one: what the library adds later, such as a service elsewhere, stays out.
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };
  for (const { id, figure } of charts) {
    if (figure.layout.height) document.getElementById(id).style.setProperty("--height", `${figure.layout.height}px`);
  }
  const draw = () =>
    Promise.all(charts.map((chart) => Plotly.react(chart.id, chart.figure.data, layout(chart), config)));
  const show = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the page in ${isDark() ? "light" : "dark"} colours`);
    return draw();
  };

  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  asked.addEventListener("change", show);

  // Paper is white, of its own width, and can't be unfolded.
  let before;
  const folded = () => document.querySelectorAll(".snippet details:not([open])");
  window.addEventListener("beforeprint", () => {
    before = { theme: root.dataset.theme, folded: [...folded()] };
    printing = true;
    root.dataset.theme = "light";
    for (const details of before.folded) details.open = true;
    show();
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    delete root.dataset.theme;
    if (before.theme) root.dataset.theme = before.theme;
    for (const details of before.folded) details.open = false;
    show();
  });

  for (const copy of document.querySelectorAll(".copy")) {
    const code = copy.parentElement.querySelector("code");
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        copy.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // a browser that forbids it leaves the keyboard
        copy.textContent = "Selected";
      }
      setTimeout(() => { copy.textContent = "Copy"; }, 2000);
    });
  }

  show().then(() => { root.dataset.drawn = charts.length; });
})();
