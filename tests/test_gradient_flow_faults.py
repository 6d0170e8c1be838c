"""Planted faults are found and named at the right segment; healthy networks get no alarm."""

import jax.numpy as jnp
import pytest
from network_cases import FAULTY, HEALTHY

import jacmap as jm


def loss(y):
    return jnp.sum(y**2) / 2


def studies(planted, seeds):
    first, weights = planted.at(0)
    flow = jm.gradient_flow(planted.network, first, weights, batch=True, loss=loss)
    yield flow
    for seed in range(1, seeds):
        yield flow.at(*planted.at(seed))


@pytest.mark.parametrize("name", FAULTY)
def test_a_planted_fault_is_found_and_named(name):
    for flow in studies(FAULTY[name], 2):
        assert {finding.kind: finding.segments for finding in flow.diagnosis.findings} == FAULTY[name].faults
        for finding in flow.diagnosis.findings:
            trial = finding.trials[0]
            assert trial.label == "measured"
            if finding.kind == "dead":
                assert trial.after < trial.before / 2
            else:  # nearer to 1
                assert abs(jnp.log(trial.after)) < abs(jnp.log(trial.before))


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_network_gets_no_alarm(name):
    for flow in studies(HEALTHY[name], 3):
        assert flow.diagnosis.healthy, str(flow.diagnosis)
