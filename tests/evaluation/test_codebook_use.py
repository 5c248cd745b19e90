"""Codebook use against tables computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sori.evaluation.codebook_use import codebook_use, joint_counts, pnmi

frames = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=40)


def test_a_table_by_hand():
    # unit 0: phones a a b; unit 1: b b b; unit 2: a; one frame of unit 1 without phone.
    units, phones = np.array([0, 0, 0, 1, 1, 1, 2, 1]), np.array([0, 0, 1, 1, 1, 1, 0, -1])
    found = codebook_use(units, phones, num_codes=5)
    assert (found.num_codes, found.num_used) == (5, 3)
    assert found.phone_purity == pytest.approx((2 + 3 + 1) / 7)
    assert found.cluster_purity == pytest.approx((2 + 3) / 7)
    frequencies = np.array([3, 4, 1]) / 8
    assert found.perplexity == pytest.approx(math.exp(-(frequencies * np.log(frequencies)).sum()))
    phone = -(3 / 7 * math.log(3 / 7) + 4 / 7 * math.log(4 / 7))
    left = 3 / 7 * -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))  # H(phone | unit): only unit 0 is ambiguous
    assert found.pnmi == pytest.approx((phone - left) / phone)


@given(frames)
def test_mutual_information_obeys_its_laws(pairs):
    units, phones = np.array(pairs).T
    value = pnmi(joint_counts(units, phones))
    assert -1e-12 <= value <= 1 + 1e-12
    assert pnmi(joint_counts(phones, phones)) == pytest.approx(1)
    if len(set(phones.tolist())) > 1:
        assert pnmi(joint_counts(np.zeros_like(phones), phones)) == pytest.approx(0, abs=1e-12)
    assert pnmi(joint_counts(7 - 3 * units, phones)) == pytest.approx(value)
    assert pnmi(joint_counts(units, (phones + 1) % 4)) == pytest.approx(value)
    merged = pnmi(joint_counts(units // 2, phones))
    assert merged <= value + 1e-9  # merging units never adds information


@given(frames)
def test_tables_count(pairs):
    units, phones = np.array(pairs).T
    table = joint_counts(units, phones)
    assert table.sum() == len(pairs)
    first_unit, first_phone = min(units), min(phones)
    assert table[0, 0] == sum(pair == (first_unit, first_phone) for pair in pairs)


def test_shuffled_phones_measure_the_bias():
    rng = np.random.default_rng(0)
    units, phones = rng.integers(0, 200, 1000), rng.integers(0, 20, 1000)
    found = codebook_use(units, phones, num_codes=200)
    assert found.pnmi == pytest.approx(found.chance_pnmi, abs=0.03)
    assert found.chance_pnmi > 0.2
    assert codebook_use(phones, phones, num_codes=20).chance_pnmi < 0.1


def test_nothing_to_count():
    with pytest.raises(ValueError, match="got none"):
        codebook_use(np.array([1]), np.array([-1]), num_codes=2)
    with pytest.raises(ValueError, match="as many phones"):
        codebook_use(np.array([1, 2]), np.array([1]), num_codes=2)
