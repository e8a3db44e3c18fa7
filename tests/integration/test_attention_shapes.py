"""The table of attention whose shapes follow from config.json, against transformers' own models."""

from __future__ import annotations

import pytest

from tests.mlx_artifacts.architectures import CONFIGS
from tests.mlx_artifacts.attention import defaults, shapes, variants
from weighbridge.domain.attention import PLAIN
from weighbridge.domain.llama_shapes import expected_shape

#: Each head or layer has a size of its own, heads are of parts, or there are none.
OTHERS = {
    "bailing_hybrid", "dbrx", "deepseek_v2", "deepseek_v3", "deepseek_v32", "falcon_mamba",
    "gemma4", "gemma4_text", "gemma4_unified", "glm4_moe_lite", "glm_moe_dsa", "gpt2",
    "gpt_bigcode", "gpt_neox", "gptj", "granitemoehybrid", "helium", "kimi_k25", "kimi_linear",
    "longcat_flash", "mamba", "mamba2", "mimo_v2_flash", "minicpm3", "mistral4", "nemotron_h",
    "qwen3_5", "qwen3_5_moe", "qwen3_next", "recurrent_gemma",
}  # fmt: skip


@pytest.mark.parametrize("model_type", sorted(set(CONFIGS) - OTHERS))
def test_the_shapes_are_those_that_transformers_builds(model_type: str) -> None:
    for config in variants(model_type):
        text = config.get_text_config()
        assert PLAIN[text.model_type] == defaults(text)
        built = shapes(config)
        assert built
        for leaf, found in built.items():
            expected = expected_shape(text.to_dict(), leaf)
            assert expected is not None and found == {expected[::-1]}, leaf


def test_no_type_is_left_out() -> None:
    assert set(CONFIGS) >= OTHERS
    texts = {next(variants(t)).get_text_config().model_type for t in set(CONFIGS) - OTHERS}
    assert texts == set(PLAIN)
