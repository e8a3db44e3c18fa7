"""Which forms transformers takes for the fields of a config.json: its classes check them.

Taken from the config classes of transformers 5.23; a test takes them from there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.domain.transformers_defaults import DEFAULTS

#: By the letters of the forms, what they are called and the type that JSON gives.
_FORMS: Mapping[str, tuple[str, type]] = {
    "b": ("true or false", bool),
    "i": ("an integer", int),
    "f": ("a float (0.5, 1.0)", float),
    "s": ("a string", str),
    "l": ("a list", list),
    "d": ("an object", dict),
    "n": ("null", type(None)),
}
#: By letters, the fields of all model types together: those with n may be null in most of them.
_FIELDS = {
    "b": """
        add_cross_attention altup_correct_scale attention_bias attention_k_eq_v attention_out_bias
        attention_softmax_in_fp32 attn_temperature_tuning block_auto_adjust_ff_dim conv_bias
        enable_moe_block is_decoder kda_safe_gate linear_allow_neg_eigval lm_head_bias mlp_bias
        moe_apply_router_weight_on_input moe_shared_expert_overlap multi_query
        multimodal_projector_bias norm_topk_prob output_router_logits qk_layernorm qkv_bias
        reorder_and_upcast_attn rescale_prenorm_residual residual_in_fp32
        scale_attention_softmax_in_fp32 scale_attn_by_inverse_layer_idx scale_attn_weights
        summary_proj_to_labels summary_use_proj tie_word_embeddings use_associative_scan use_bias
        use_cache use_conv_bias use_double_wide_mlp use_expert_bias use_mamba_kernels use_mambapy
        use_parallel_residual use_qk_norm use_qkv_bias use_sliding_window
        """,
    "bn": """
        mamba_conv_bias mamba_norm_before_gate mamba_proj_bias mamba_rms_norm mup_enabled
        projectors_bias rope_interleave use_bidirectional_attention
        """,
    "bs": """
        gating
        """,
    "dn": """
        attn_config audio_config ffn_config rope_parameters text_config vision_config
        """,
    "f": """
        altup_coef_clip attn_scale initializer_range input_jitter_noise kda_lower_bound
        layer_norm_eps layer_norm_epsilon linear_a_log_max linear_a_log_min linear_dt_init_floor
        linear_dt_max linear_dt_min logits_soft_cap mixer_rms_eps moe_routed_scaling_factor
        moe_router_logit_softcapping moe_router_scaling_factor norm_eps norm_epsilon
        output_multiplier post_norm_eps projection_layer_norm_eps qk_scale_factor
        residual_gate_temperature rms_norm_eps router_aux_loss_coef router_jitter_noise
        swiglu_alpha swiglu_limit time_step_floor time_step_max time_step_min time_step_scale
        w_init_variance_scale
        """,
    "fln": """
        activation_sparsity_pattern
        """,
    "fn": """
        attention_in_multiplier attention_out_multiplier attention_value_scale
        attn_logit_softcapping clip_qkv emb_pdrop final_logit_softcapping key_multiplier
        lm_head_multiplier logit_scale moe_norm_min route_scale ssm_in_multiplier
        ssm_out_multiplier
        """,
    "i": """
        altup_active_idx altup_num_inputs attention_window_size attn_layer_offset
        attn_layer_period block_multiple_of block_size chunk_size conv1d_width conv_L_cache
        conv_kernel decoder_sparse_step dense_intermediate_size expand expert_ffn_hidden_size
        expert_layer_offset expert_layer_period ffn_hidden_size first_k_dense_replace floor_scale
        head_dim hidden_size hidden_size_per_layer_input image_seq_length image_token_id
        image_token_index index_block_size index_head_dim index_local_blocks index_n_heads
        index_topk index_topk_blocks interleave_moe_layer_step intermediate_size_mlp kv_lora_rank
        laurel_rank layer_group_size linear_conv_kernel_dim linear_head_dim linear_key_head_dim
        linear_num_heads linear_num_key_heads linear_num_value_heads linear_value_head_dim
        mamba_head_dim mamba_num_heads max_position_embeddings moe_hidden_size
        moe_intermediate_size moe_shared_expert_intermediate_size moe_topk n_embd n_group n_groups
        n_head n_layer n_positions n_routed_experts n_shared_experts no_rope_layer_interval
        num_attention_heads num_experts num_experts_per_tok num_heads num_hidden_layers
        num_kv_shared_layers num_layers num_local_experts num_mtp_layers num_nextn_predict_layers
        original_max_position_embeddings out_hidden_size projector_hidden_size qk_nope_head_dim
        qk_rope_head_dim rotary_dim share_expert_dim shared_expert_intermediate_size
        shared_intermediate_size short_conv_kernel_size spatial_merge_size ssm_state_size
        state_size topk_group v_head_dim video_token_id video_token_index vision_end_token_id
        vision_start_token_id vocab_size vocab_size_per_layer_input zero_expert_num
        """,
    "if": """
        attention_dropout attn_pdrop block_ffn_dim_multiplier classifier_dropout embd_pdrop
        embedding_dropout full_attn_alpha_factor full_attn_beta_factor hidden_dropout
        linear_attn_alpha_factor linear_attn_beta_factor mlp_alpha_factor mlp_beta_factor
        mtp_loss_scaling_factor query_pre_attn_scalar resid_pdrop residual_dropout rope_theta
        routed_scaling_factor scale_emb summary_first_dropout
        """,
    "ifn": """
        attention_multiplier embedding_multiplier logits_scaling residual_multiplier scale_depth
        """,
    "il": """
        intermediate_size vision_feature_layer
        """,
    "iln": """
        eos_token_id
        """,
    "in": """
        attention_chunk_size audio_soft_tokens_per_image audio_token_id boa_token_id boi_token_id
        boi_token_index bos_token_id d_model dim_model_base eoa_token_id eoa_token_index
        eod_token_id eoi_token_id eoi_token_index global_attn_every_n_layers lru_width
        mamba_chunk_size mamba_d_conv mamba_d_ssm mamba_d_state mamba_expand mamba_n_groups
        mamba_n_heads max_seq_len max_window_layers mm_tokens_per_image moe_k moe_latent_size
        moe_layer_end_index moe_layer_interval moe_layer_start_index moe_num_experts
        moe_num_shared_experts n_heads n_inner n_layers num_dense_layers num_key_value_heads
        num_logits_to_keep num_shared_experts num_sliding_attention_heads pad_token_id
        pretraining_tp projection_hidden_size q_lora_rank qk_head_dim sliding_window top_k_experts
        vision_soft_tokens_per_image
        """,
    "is": """
        mamba_dt_rank time_step_rank
        """,
    "isn": """
        mamba_d_head sliding_window_pattern
        """,
    "ln": """
        block_types full_attn_idxs indexer_types layer_rope_theta layer_types layers_block_type
        mlp_layer_types mlp_multipliers mlp_only_layers moe_layers mtp_layer_types
        mtp_layers_block_type mtp_mlp_layer_types no_rope_layers num_attention_heads_per_layer
        ssm_multipliers swiglu_limits swiglu_limits_shared time_step_limit
        """,
    "s": """
        activation_function hidden_act hidden_activation mamba_hidden_act mamba_ssm_cache_dtype
        mlp_hidden_act projector_hidden_act summary_type time_step_init_scheme
        """,
    "sn": """
        position_embedding_type summary_activation topk_method
        """,
}
#: The types in which it is otherwise: what may be null there may not, and the other way round.
_OTHER_ABOUT_NULL = {
    "attention_dropout": """
        afmoe bitnet cohere deepseek_v2 deepseek_v3 dots1 falcon_h1 gemma2 gemma3_text
        gemma3n_text gemma4_text gemma4_unified_text glm granitemoe granitemoehybrid kimi_linear
        llama minicpm3 mistral4 muse_spark_text olmo_hybrid phi qwen2_5_vl_text qwen2_vl_text
        """,
    "attention_multiplier": "granite",
    "audio_token_id": "muse_spark",
    "boi_token_index": "llama4",
    "embedding_multiplier": "granite",
    "eoi_token_index": "llama4",
    "final_logit_softcapping": "gemma3n_text muse_spark_text",
    "first_k_dense_replace": "deepseek_v3 dots1 mistral4",
    "head_dim": """
        afmoe deepseek_v2 ernie4_5 glm hunyuan_v1_dense internlm3 iquestcoder llama minicpm3
        minimax mistral mixtral nemotron qwen3_vl_moe_text seed_oss
        """,
    "image_token_id": "gemma3n gemma4 gemma4_unified",
    "image_token_index": "gemma3",
    "initializer_range": "gemma3 gemma3n gemma4 gemma4_unified",
    "layer_norm_eps": "cohere",
    "linear_key_head_dim": "olmo_hybrid",
    "linear_num_key_heads": "olmo_hybrid",
    "linear_num_value_heads": "olmo_hybrid",
    "linear_value_head_dim": "olmo_hybrid",
    "logit_scale": "cohere2",
    "logits_scaling": "granite",
    "mamba_conv_bias": "jamba",
    "mamba_d_conv": "jamba",
    "mamba_d_state": "jamba",
    "mamba_expand": "jamba",
    "mamba_proj_bias": "jamba nemotron_h",
    "max_window_layers": "qwen2 qwen2_moe qwen3",
    "moe_intermediate_size": "gemma4_text",
    "n_group": "deepseek_v2 deepseek_v3 dots1 mistral4",
    "n_routed_experts": "dots1",
    "n_shared_experts": "dots1",
    "norm_topk_prob": "deepseek_v2 deepseek_v3 dots1 mistral4",
    "num_dense_layers": "lfm2_moe",
    "num_experts": "afmoe gemma4_text",
    "num_experts_per_tok": """
        afmoe deepseek_v2 deepseek_v3 dots1 granitemoe granitemoehybrid kimi_linear mistral4
        """,
    "num_key_value_heads": """
        deepseek_v32 exaone4 exaone_moe gemma gemma2 gemma3_text gemma3n_text gemma4_text
        gemma4_unified_text glm4 glm4_moe glm4_moe_lite glm_moe_dsa gpt_oss helium jamba laguna
        lfm2 lfm2_moe llama4_text mellum mimo_v2_flash minimax minimax_m2 minimax_m3_vl_text
        ministral3 mistral mixtral muse_spark_text nemotron_h phimoe qwen3_5_moe_text qwen3_5_text
        qwen3_moe qwen3_next qwen3_vl_moe_text solar_open stablelm starcoder2 step3p5
        """,
    "num_local_experts": "granitemoe granitemoehybrid",
    "num_logits_to_keep": "nemotron_h",
    "num_mtp_layers": "mellum",
    "num_shared_experts": "exaone_moe",
    "output_router_logits": "dbrx ernie4_5_moe granitemoe granitemoehybrid",
    "pad_token_id": "step3p5",
    "pretraining_tp": "glm4_moe_lite hunyuan_v1_dense seed_oss",
    "q_lora_rank": "deepseek_v32 glm_moe_dsa longcat_flash",
    "query_pre_attn_scalar": "step3p5",
    "resid_pdrop": "dbrx",
    "residual_multiplier": "granite",
    "rope_interleave": "glm4_moe_lite",
    "routed_scaling_factor": "mimo_v2_flash",
    "router_aux_loss_coef": "ernie4_5_moe granitemoe granitemoehybrid",
    "sliding_window": """
        exaone_moe gemma3n_text gemma4_text gemma4_unified_text laguna mimo_v2_flash
        """,
    "tie_word_embeddings": "gemma3 gemma3n",
    "time_step_limit": "mamba2 nemotron_h",
    "topk_group": "deepseek_v2 deepseek_v3 dots1 kimi_linear mistral4",
    "use_bias": "ernie4_5 ernie4_5_moe",
    "use_cache": "ernie4_5 falcon_h1",
    "use_qk_norm": "cohere",
    "use_sliding_window": "qwen2_5_vl_text qwen2_vl_text",
    "v_head_dim": "deepseek_v3 kimi_linear minicpm3 mistral4",
    "video_token_id": "gemma4 gemma4_unified",
}

_LETTERS = {name: letters for letters, names in _FIELDS.items() for name in names.split()}
_EXCEPTED = {name: frozenset(types.split()) for name, types in _OTHER_ABOUT_NULL.items()}


def forms_of(model_type: str, field: str) -> str:
    """The letters of the forms that ``field`` may have in a config of that type; '' if no class of
    transformers' declares such a field, or the type is none that mlx-lm has too."""
    letters = _LETTERS.get(field, "") if model_type in DEFAULTS else ""
    if letters and model_type in _EXCEPTED.get(field, ()):
        return letters[:-1] if letters.endswith("n") else letters + "n"
    return letters


def wanted_form(model_type: str, field: str, value: Any) -> str:
    """What transformers takes there, in words, if it refuses ``value``; else ''."""
    letters = forms_of(model_type, field)
    # The type itself is asked for: true is no integer, and 1 no float.
    if not letters or any(type(value) is _FORMS[letter][1] for letter in letters):
        return ""
    return " or ".join(_FORMS[letter][0] for letter in letters)
