import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptubench.ptu import catalogue
from ptubench.ptu.capacity import capacity

tokens = st.integers(0, 200_000)


def test_the_catalogue_says_its_date_and_source():
    assert catalogue.DATED == "2026-09-23"
    assert "provisioned-throughput-sizing" in catalogue.SOURCE


def test_the_catalogue_has_every_model_of_the_published_table():
    assert len(catalogue.table()) == 26


@pytest.mark.parametrize("name", ["gpt-4.1", "GPT-4.1", " gpt-4.1 ", "gpt-4.1-2025-04-14"])
def test_a_model_is_found_whatever_its_case_and_with_its_version_date(name):
    assert catalogue.find(name).name == "gpt-4.1"


def test_a_version_date_does_not_hide_a_model_of_that_very_name():
    assert catalogue.find("gpt-5.1-codex").name == "gpt-5.1-codex"
    assert catalogue.find("gpt-9") is None


def test_the_nearest_names_come_in_the_catalogues_own_spelling():
    assert catalogue.nearest("gpt-41")[0] == "gpt-4.1"
    assert catalogue.nearest("llama-3.3-70")[0] == "Llama-3.3-70B"
    assert catalogue.nearest("zzz") == []


def test_answers_carry_the_name_with_the_version():
    assert catalogue.find("gpt-4.1").served == "gpt-4.1-2025-04-14"
    assert catalogue.find("gpt-4o").served == "gpt-4o"


def test_a_model_that_is_not_offered_in_a_type_has_no_size_there():
    assert catalogue.find("Llama-3.3-70B").sizes == {"global": (100, 100), "datazone": (100, 100)}
    assert catalogue.find("o1").sizes["regional"] == (25, 50)


@pytest.mark.parametrize("model", catalogue.table().values(), ids=lambda model: model.name)
def test_every_row_makes_sense(model):
    assert model.tpm_per_ptu > 0
    assert model.target_tps > 0
    assert model.weights.output > model.weights.input > model.weights.cached >= 0
    assert all(minimum >= increment > 0 or model.name == "o1" for minimum, increment in model.sizes.values())
    assert model.reasoning == model.name.startswith(("o", "gpt-5", "gpt-6"))


# Published worked examples: tokens of 1,000 calls a minute, and the raw PTU that they need.
@pytest.mark.parametrize(("cached", "published"), [(0, 105.88), (100, 76.47)])
def test_published_examples_come_out(cached, published):
    one = capacity("gpt-5.2", 1)

    assert 1000 * one.normalized(200, cached, 20) / one.tpm == pytest.approx(published, abs=0.005)


def test_capacity_grows_with_the_size():
    small, large = capacity("gpt-4.1", 50), capacity("gpt-4.1", 100)

    assert (small.tpm, small.per_second) == (150_000, 2500)
    assert large.tpm == 2 * small.tpm


def test_cached_prompt_tokens_count_nothing_but_for_gpt_6():
    assert capacity("gpt-4.1", 15).normalized(1000, 400, 100) == 600 + 4 * 100
    assert capacity("gpt-6-sol", 15).normalized(1000, 400, 100) == 600 + 0.1 * 400 + 5 * 100


@given(prompt=tokens, cached=tokens, completion=tokens)
def test_arrays_are_counted_like_their_numbers(prompt, cached, completion):
    deployment = capacity("gpt-6-sol", 15)
    together = deployment.normalized(np.array([prompt, 0]), np.array([cached, 0]), np.array([completion, 1]))

    assert together.tolist() == [deployment.normalized(prompt, cached, completion), 5]


@pytest.mark.parametrize(
    ("overrides", "source", "output", "tpm"),
    [
        ({}, "catalogue of 2026-09-23", 4, 2500),
        ({"ratio": 3}, "catalogue of 2026-09-23, ratio as typed", 3, 2500),
        ({"tpm_per_ptu": 10}, "catalogue of 2026-09-23, TPM per PTU as typed", 4, 10),
        ({"ratio": 3, "tpm_per_ptu": 10}, "as typed", 3, 10),
    ],
)
def test_overrides_replace_the_catalogue_and_are_named(overrides, source, output, tpm):
    found = capacity("gpt-4o", 1, **overrides)

    assert (found.source, found.weights.output, found.tpm_per_ptu) == (source, output, tpm)


@pytest.mark.parametrize(
    ("model", "ptu", "overrides"),
    [
        ("gpt-4o", None, {}),
        (None, 50, {}),
        ("gpt-9", 50, {"ratio": 3}),
        ("gpt-9", 50, {"tpm_per_ptu": 3}),
    ],
)
def test_without_enough_to_go_by_there_is_no_capacity(model, ptu, overrides):
    assert capacity(model, ptu, **overrides) is None


@pytest.mark.parametrize("model", ["gpt-9", None])
def test_both_overrides_do_without_the_catalogue(model):
    assert capacity(model, 10, ratio=3, tpm_per_ptu=100).tpm == 1000
