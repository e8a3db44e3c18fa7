"""Which forms transformers takes for the fields of a config.json: its classes check them.

Taken from the config classes of transformers 5.23; a test takes them from there again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
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
#: By the letters of their forms, the fields of all model types together: those with n may be null
#: in most of the types.
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
    "bs": "gating",
    "dn": "attn_config audio_config ffn_config rope_parameters text_config vision_config",
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
    "fln": "activation_sparsity_pattern",
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
    "il": "intermediate_size vision_feature_layer",
    "iln": "eos_token_id",
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
    "is": "mamba_dt_rank time_step_rank",
    "isn": "mamba_d_head sliding_window_pattern",
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
    "sn": "position_embedding_type summary_activation topk_method",
}
#: The types in which it is otherwise: what may be null may not, and the other way round.
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
#: The types that have a field.
_OF_FEW = {
    "activation_function": "gpt2 gpt_bigcode gptj",
    "activation_sparsity_pattern": "gemma3n_text",
    "add_cross_attention": "gpt2 gpt_bigcode",
    "altup_active_idx": "gemma3n_text",
    "altup_coef_clip": "gemma3n_text",
    "altup_correct_scale": "gemma3n_text",
    "altup_num_inputs": "gemma3n_text",
    "attention_chunk_size": "llama4_text",
    "attention_in_multiplier": "falcon_h1",
    "attention_k_eq_v": "gemma4_text gemma4_unified_text",
    "attention_multiplier": "granite granitemoe granitemoehybrid",
    "attention_out_bias": "seed_oss",
    "attention_out_multiplier": "falcon_h1",
    "attention_softmax_in_fp32": "gpt_bigcode",
    "attention_value_scale": "mimo_v2_flash",
    "attention_window_size": "recurrent_gemma",
    "attn_config": "dbrx",
    "attn_layer_offset": "jamba",
    "attn_layer_period": "jamba",
    "attn_logit_softcapping": "gemma2 gemma3_text",
    "attn_pdrop": "gpt2 gpt_bigcode gptj",
    "attn_scale": "llama4_text",
    "attn_temperature_tuning": "llama4_text",
    "audio_config": "gemma3n gemma4 gemma4_unified muse_spark",
    "audio_soft_tokens_per_image": "gemma3n",
    "audio_token_id": "gemma3n gemma4 gemma4_unified muse_spark",
    "block_auto_adjust_ff_dim": "lfm2",
    "block_ffn_dim_multiplier": "lfm2",
    "block_multiple_of": "lfm2",
    "block_size": "minimax",
    "block_types": "recurrent_gemma",
    "boa_token_id": "gemma3n gemma4 gemma4_unified",
    "boi_token_id": "gemma3n gemma4 gemma4_unified",
    "boi_token_index": "gemma3 llama4",
    "chunk_size": "mamba2 nemotron_h",
    "classifier_dropout": "gpt_neox",
    "clip_qkv": "olmo olmoe",
    "conv1d_width": "recurrent_gemma",
    "conv_L_cache": "lfm2 lfm2_moe",
    "conv_bias": "lfm2 lfm2_moe",
    "conv_kernel": "falcon_mamba mamba mamba2 nemotron_h",
    "d_model": "dbrx",
    "decoder_sparse_step": "qwen2_moe qwen3_moe qwen3_next qwen3_vl_moe_text",
    "dense_intermediate_size": "minimax_m3_vl_text",
    "dim_model_base": "minicpm3",
    "emb_pdrop": "dbrx",
    "embd_pdrop": "gpt2 gpt_bigcode gptj phi phi3",
    "embedding_dropout": "starcoder2",
    "embedding_multiplier": "falcon_h1 granite granitemoe granitemoehybrid",
    "enable_moe_block": "gemma4_text",
    "eoa_token_id": "gemma3n",
    "eoa_token_index": "gemma4 gemma4_unified",
    "eod_token_id": "hunyuan_v1_dense",
    "eoi_token_id": "gemma3n gemma4 gemma4_unified",
    "eoi_token_index": "gemma3 llama4",
    "expand": "falcon_mamba mamba mamba2 nemotron_h",
    "expert_ffn_hidden_size": "longcat_flash",
    "expert_layer_offset": "jamba",
    "expert_layer_period": "jamba",
    "ffn_config": "dbrx",
    "ffn_hidden_size": "longcat_flash",
    "final_logit_softcapping": """
        gemma2 gemma3_text gemma3n_text gemma4_text gemma4_unified_text muse_spark_text nanochat
        """,
    "first_k_dense_replace": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe glm_moe_dsa
        mistral4
        """,
    "floor_scale": "llama4_text",
    "full_attn_alpha_factor": "minimax",
    "full_attn_beta_factor": "minimax",
    "full_attn_idxs": "lfm2",
    "gating": "laguna",
    "global_attn_every_n_layers": "afmoe",
    "head_dim": """
        afmoe bailing_hybrid deepseek_v2 deepseek_v32 ernie4_5 gemma gemma2 gemma3_text
        gemma3n_text gemma4_text gemma4_unified_text glm glm4 glm_moe_dsa gpt_oss helium
        hunyuan_v1_dense internlm3 iquestcoder laguna llama llama4_text longcat_flash mamba2
        mellum mimo_v2_flash minicpm3 minimax minimax_m2 minimax_m3_vl_text ministral3 mistral
        mixtral muse_spark_text nemotron nemotron_h qwen3 qwen3_5_moe_text qwen3_5_text qwen3_next
        qwen3_vl_moe_text qwen3_vl_text seed_oss solar_open step3p5
        """,
    "hidden_activation": """
        gemma2 gemma3_text gemma3n_text gemma4_text gemma4_unified_text recurrent_gemma
        """,
    "hidden_dropout": "gpt_neox nemotron_h stablelm",
    "hidden_size_per_layer_input": "gemma3n_text gemma4_text",
    "image_seq_length": "llava",
    "image_token_id": """
        gemma3n gemma4 gemma4_unified kimi_k25 muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5
        qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "image_token_index": "gemma3 llama4 llava minimax_m3_vl mistral3",
    "index_block_size": "minimax_m3_vl_text",
    "index_head_dim": "deepseek_v32 glm_moe_dsa minimax_m3_vl_text",
    "index_local_blocks": "minimax_m3_vl_text",
    "index_n_heads": "deepseek_v32 glm_moe_dsa minimax_m3_vl_text",
    "index_topk": "deepseek_v32 glm_moe_dsa",
    "index_topk_blocks": "minimax_m3_vl_text",
    "indexer_types": "glm_moe_dsa",
    "input_jitter_noise": "phimoe",
    "interleave_moe_layer_step": "llama4_text",
    "intermediate_size_mlp": "llama4_text",
    "is_decoder": "gpt_neox",
    "kda_lower_bound": "bailing_hybrid",
    "kda_safe_gate": "bailing_hybrid",
    "key_multiplier": "falcon_h1",
    "kv_lora_rank": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear
        longcat_flash minicpm3 mistral4
        """,
    "laurel_rank": "gemma3n_text",
    "layer_group_size": "bailing_hybrid",
    "layer_norm_eps": "cohere cohere2 gpt_neox phi stablelm",
    "layer_norm_epsilon": "falcon_mamba gpt2 gpt_bigcode gptj mamba mamba2 nemotron_h",
    "layer_rope_theta": "muse_spark_text",
    "layer_types": """
        afmoe bailing_hybrid cohere2 deepseek_v32 dots1 exaone4 exaone_moe gemma2 gemma3_text
        gemma3n_text gemma4_text gemma4_unified_text glm_moe_dsa gpt_oss granitemoehybrid
        kimi_linear laguna lfm2 lfm2_moe llama4_text mellum mimo_v2_flash minimax
        minimax_m3_vl_text muse_spark_text olmo3 olmo_hybrid qwen2 qwen2_5_vl_text qwen2_moe
        qwen2_vl_text qwen3 qwen3_5_moe_text qwen3_5_text qwen3_next smollm3 step3p5
        """,
    "layers_block_type": "nemotron_h",
    "linear_a_log_max": "olmo_hybrid",
    "linear_a_log_min": "olmo_hybrid",
    "linear_allow_neg_eigval": "olmo_hybrid",
    "linear_attn_alpha_factor": "minimax",
    "linear_attn_beta_factor": "minimax",
    "linear_conv_kernel_dim": "kimi_linear olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next",
    "linear_dt_init_floor": "olmo_hybrid",
    "linear_dt_max": "olmo_hybrid",
    "linear_dt_min": "olmo_hybrid",
    "linear_head_dim": "kimi_linear",
    "linear_key_head_dim": "olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next",
    "linear_num_heads": "kimi_linear",
    "linear_num_key_heads": "olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next",
    "linear_num_value_heads": "olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next",
    "linear_value_head_dim": "olmo_hybrid qwen3_5_moe_text qwen3_5_text qwen3_next",
    "lm_head_bias": "phimoe",
    "lm_head_multiplier": "falcon_h1",
    "logit_scale": "cohere cohere2",
    "logits_scaling": "granite granitemoe granitemoehybrid",
    "logits_soft_cap": "recurrent_gemma",
    "lru_width": "recurrent_gemma",
    "mamba_chunk_size": "falcon_h1 granitemoehybrid",
    "mamba_conv_bias": "falcon_h1 granitemoehybrid jamba",
    "mamba_d_conv": "falcon_h1 granitemoehybrid jamba",
    "mamba_d_head": "falcon_h1 granitemoehybrid",
    "mamba_d_ssm": "falcon_h1",
    "mamba_d_state": "falcon_h1 granitemoehybrid jamba",
    "mamba_dt_rank": "jamba",
    "mamba_expand": "falcon_h1 granitemoehybrid jamba",
    "mamba_head_dim": "nemotron_h",
    "mamba_hidden_act": "nemotron_h",
    "mamba_n_groups": "falcon_h1 granitemoehybrid",
    "mamba_n_heads": "falcon_h1 granitemoehybrid",
    "mamba_norm_before_gate": "falcon_h1",
    "mamba_num_heads": "nemotron_h",
    "mamba_proj_bias": "falcon_h1 granitemoehybrid jamba nemotron_h",
    "mamba_rms_norm": "falcon_h1",
    "mamba_ssm_cache_dtype": "nemotron_h",
    "max_seq_len": "dbrx",
    "max_window_layers": "dots1 qwen2 qwen2_5_vl_text qwen2_moe qwen2_vl_text qwen3",
    "mixer_rms_eps": "falcon_mamba",
    "mlp_alpha_factor": "minimax",
    "mlp_beta_factor": "minimax",
    "mlp_bias": """
        deepseek_v2 deepseek_v32 falcon_h1 glm_moe_dsa granite helium internlm3 iquestcoder llama
        minicpm3 nemotron nemotron_h seed_oss smollm3 step3p5
        """,
    "mlp_hidden_act": "nemotron_h",
    "mlp_layer_types": """
        bailing_hybrid deepseek_v32 exaone_moe glm4_moe_lite glm_moe_dsa kimi_linear laguna mellum
        mimo_v2_flash minimax_m3_vl_text muse_spark_text step3p5
        """,
    "mlp_multipliers": "falcon_h1",
    "mlp_only_layers": "qwen2_moe qwen3_moe qwen3_next qwen3_vl_moe_text",
    "mm_tokens_per_image": "gemma3",
    "moe_apply_router_weight_on_input": "laguna",
    "moe_hidden_size": "muse_spark_text",
    "moe_intermediate_size": """
        afmoe bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5_moe exaone_moe
        gemma4_text glm4_moe glm4_moe_lite glm_moe_dsa kimi_linear laguna lfm2_moe mellum
        mimo_v2_flash mistral4 muse_spark_text nemotron_h qwen2_moe qwen3_5_moe_text qwen3_moe
        qwen3_next qwen3_vl_moe_text solar_open step3p5
        """,
    "moe_k": "ernie4_5_moe",
    "moe_latent_size": "nemotron_h",
    "moe_layer_end_index": "ernie4_5_moe",
    "moe_layer_interval": "ernie4_5_moe",
    "moe_layer_start_index": "ernie4_5_moe",
    "moe_layers": "llama4_text",
    "moe_norm_min": "ernie4_5_moe",
    "moe_num_experts": "ernie4_5_moe",
    "moe_num_shared_experts": "ernie4_5_moe",
    "moe_routed_scaling_factor": "laguna",
    "moe_router_logit_softcapping": "laguna",
    "moe_router_scaling_factor": "step3p5",
    "moe_shared_expert_intermediate_size": "nemotron_h",
    "moe_shared_expert_overlap": "nemotron_h",
    "moe_topk": "longcat_flash",
    "mtp_layer_types": "mellum step3p5",
    "mtp_layers_block_type": "nemotron_h",
    "mtp_loss_scaling_factor": "bailing_hybrid",
    "mtp_mlp_layer_types": "mellum step3p5",
    "multi_query": "gpt_bigcode",
    "multimodal_projector_bias": "llava mistral3",
    "mup_enabled": "afmoe",
    "n_embd": "gpt2 gpt_bigcode gptj",
    "n_group": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe
        glm4_moe_lite glm_moe_dsa kimi_linear mimo_v2_flash mistral4 nemotron_h solar_open
        """,
    "n_groups": "mamba2 nemotron_h",
    "n_head": "gpt2 gpt_bigcode gptj",
    "n_heads": "dbrx",
    "n_inner": "gpt2 gpt_bigcode gptj",
    "n_layer": "gpt2 gpt_bigcode gptj",
    "n_layers": "dbrx",
    "n_positions": "gpt2 gpt_bigcode gptj",
    "n_routed_experts": """
        deepseek_v2 deepseek_v3 deepseek_v32 dots1 glm4_moe glm4_moe_lite glm_moe_dsa
        longcat_flash mimo_v2_flash mistral4 nemotron_h solar_open step3p5
        """,
    "n_shared_experts": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 glm4_moe glm4_moe_lite
        glm_moe_dsa kimi_linear mistral4 nemotron_h solar_open
        """,
    "no_rope_layer_interval": "llama4_text smollm3",
    "no_rope_layers": "llama4_text smollm3",
    "norm_eps": "lfm2 lfm2_moe nemotron",
    "norm_epsilon": "starcoder2",
    "norm_topk_prob": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe
        glm4_moe_lite glm_moe_dsa kimi_linear lfm2_moe mellum mimo_v2_flash mistral4 nemotron_h
        olmoe qwen2_moe qwen3_moe qwen3_next solar_open
        """,
    "num_attention_heads_per_layer": "laguna",
    "num_dense_layers": "afmoe lfm2_moe",
    "num_experts": """
        afmoe exaone_moe gemma4_text jamba laguna lfm2_moe mellum olmoe qwen2_moe qwen3_5_moe_text
        qwen3_moe qwen3_next qwen3_vl_moe_text
        """,
    "num_experts_per_tok": """
        afmoe bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe
        glm4_moe_lite glm_moe_dsa gpt_oss granitemoe granitemoehybrid jamba kimi_linear laguna
        lfm2_moe llama4_text mellum mimo_v2_flash minimax minimax_m2 minimax_m3_vl_text mistral4
        mixtral muse_spark_text nemotron_h olmoe phimoe qwen2_moe qwen3_5_moe_text qwen3_moe
        qwen3_next qwen3_vl_moe_text solar_open step3p5
        """,
    "num_heads": "mamba2",
    "num_kv_shared_layers": "gemma3n_text gemma4_text gemma4_unified_text",
    "num_layers": "longcat_flash",
    "num_local_experts": """
        bailing_hybrid gpt_oss granitemoe granitemoehybrid kimi_linear llama4_text minimax
        minimax_m2 minimax_m3_vl_text mixtral muse_spark_text phimoe step3p5
        """,
    "num_logits_to_keep": "falcon_h1 nemotron_h",
    "num_mtp_layers": "bailing_hybrid deepseek_v3 glm4_moe mellum",
    "num_nextn_predict_layers": "nemotron_h",
    "num_shared_experts": "afmoe exaone_moe",
    "num_sliding_attention_heads": "step3p5",
    "original_max_position_embeddings": "phi3",
    "out_hidden_size": "muse_glimmer muse_spark",
    "output_multiplier": "muse_spark_text",
    "output_router_logits": """
        afmoe bailing_hybrid dbrx deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5_moe
        exaone_moe glm4_moe glm4_moe_lite glm_moe_dsa gpt_oss granitemoe granitemoehybrid jamba
        kimi_linear laguna lfm2_moe llama4_text longcat_flash mellum mimo_v2_flash minimax
        minimax_m2 minimax_m3_vl_text mistral4 mixtral muse_spark_text nemotron_h olmoe phimoe
        qwen2_moe qwen3_5_moe_text qwen3_moe qwen3_next qwen3_vl_moe_text solar_open step3p5
        """,
    "position_embedding_type": "granitemoehybrid",
    "post_norm_eps": "muse_spark_text",
    "pretraining_tp": """
        bailing_hybrid deepseek_v2 deepseek_v3 glm4_moe_lite hunyuan_v1_dense kimi_linear llama
        minicpm3 mistral4 seed_oss
        """,
    "projection_hidden_size": "kimi_k25",
    "projection_layer_norm_eps": "kimi_k25",
    "projector_hidden_act": "llava mistral3 muse_glimmer muse_spark",
    "projector_hidden_size": "minimax_m3_vl muse_glimmer muse_spark",
    "projectors_bias": "falcon_h1",
    "q_lora_rank": """
        deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear longcat_flash
        minicpm3 mistral4
        """,
    "qk_head_dim": "longcat_flash",
    "qk_layernorm": "phi stablelm",
    "qk_nope_head_dim": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear
        longcat_flash minicpm3 mistral4
        """,
    "qk_rope_head_dim": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear
        longcat_flash minicpm3 mistral4
        """,
    "qk_scale_factor": "muse_spark_text",
    "qkv_bias": "qwen2_moe",
    "query_pre_attn_scalar": "gemma2 gemma3_text step3p5",
    "reorder_and_upcast_attn": "gpt2",
    "rescale_prenorm_residual": "falcon_mamba mamba mamba2 nemotron_h",
    "resid_pdrop": "dbrx gpt2 gpt_bigcode gptj phi phi3",
    "residual_dropout": "seed_oss starcoder2",
    "residual_gate_temperature": "muse_spark_text",
    "residual_in_fp32": "falcon_mamba mamba mamba2 nemotron_h",
    "residual_multiplier": "granite granitemoe granitemoehybrid",
    "rope_interleave": "deepseek_v3 glm4_moe_lite mistral4",
    "rope_theta": "bailing_hybrid",
    "rotary_dim": "gptj minimax_m3_vl_text",
    "route_scale": "afmoe",
    "routed_scaling_factor": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe
        glm4_moe_lite glm_moe_dsa kimi_linear lfm2_moe longcat_flash mimo_v2_flash
        minimax_m3_vl_text mistral4 muse_spark_text nemotron_h solar_open
        """,
    "router_aux_loss_coef": """
        ernie4_5_moe gpt_oss granitemoe granitemoehybrid jamba laguna llama4_text mellum minimax
        minimax_m2 minimax_m3_vl_text mixtral olmoe phimoe qwen2_moe qwen3_5_moe_text qwen3_moe
        qwen3_next qwen3_vl_moe_text
        """,
    "router_jitter_noise": "llama4_text minimax minimax_m2 minimax_m3_vl_text mixtral phimoe",
    "scale_attention_softmax_in_fp32": "gpt_bigcode",
    "scale_attn_by_inverse_layer_idx": "gpt2",
    "scale_attn_weights": "gpt2 gpt_bigcode",
    "scale_depth": "minicpm3",
    "scale_emb": "minicpm3",
    "share_expert_dim": "step3p5",
    "shared_expert_intermediate_size": "laguna qwen2_moe qwen3_5_moe_text qwen3_next",
    "shared_intermediate_size": "granitemoehybrid minimax_m3_vl_text",
    "short_conv_kernel_size": "bailing_hybrid",
    "sliding_window": """
        afmoe cohere2 dots1 exaone4 exaone_moe gemma2 gemma3_text gemma3n_text gemma4_text
        gemma4_unified_text gpt_oss laguna mellum mimo_v2_flash minimax ministral3 mistral mixtral
        muse_spark_text nemotron_h olmo3 phi3 phimoe qwen2 qwen2_5_vl_text qwen2_moe qwen2_vl_text
        qwen3 qwen3_moe smollm3 starcoder2 step3p5
        """,
    "sliding_window_pattern": "exaone4 exaone_moe",
    "spatial_merge_size": "mistral3",
    "ssm_in_multiplier": "falcon_h1",
    "ssm_multipliers": "falcon_h1",
    "ssm_out_multiplier": "falcon_h1",
    "ssm_state_size": "nemotron_h",
    "state_size": "falcon_mamba mamba mamba2",
    "summary_activation": "gpt2",
    "summary_first_dropout": "gpt2",
    "summary_proj_to_labels": "gpt2",
    "summary_type": "gpt2",
    "summary_use_proj": "gpt2",
    "swiglu_alpha": "gpt_oss minimax_m3_vl_text",
    "swiglu_limit": "gpt_oss minimax_m3_vl_text",
    "swiglu_limits": "step3p5",
    "swiglu_limits_shared": "step3p5",
    "text_config": """
        gemma3 gemma3n gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "time_step_floor": "falcon_mamba mamba mamba2 nemotron_h",
    "time_step_init_scheme": "falcon_mamba mamba",
    "time_step_limit": "falcon_h1 granitemoehybrid mamba2 nemotron_h",
    "time_step_max": "falcon_mamba mamba mamba2 nemotron_h",
    "time_step_min": "falcon_mamba mamba mamba2 nemotron_h",
    "time_step_rank": "falcon_mamba mamba mamba2",
    "time_step_scale": "falcon_mamba mamba",
    "top_k_experts": "gemma4_text",
    "topk_group": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 dots1 exaone_moe glm4_moe
        glm4_moe_lite glm_moe_dsa kimi_linear mimo_v2_flash mistral4 nemotron_h solar_open
        """,
    "topk_method": "deepseek_v2",
    "use_associative_scan": "falcon_mamba jamba mamba",
    "use_bias": "ernie4_5 ernie4_5_moe falcon_mamba mamba mamba2 nemotron_h starcoder2",
    "use_bidirectional_attention": "gemma gemma2 gemma3_text",
    "use_conv_bias": "falcon_mamba mamba mamba2 nemotron_h",
    "use_double_wide_mlp": "gemma4_text gemma4_unified_text",
    "use_expert_bias": "lfm2_moe",
    "use_mamba_kernels": "jamba nemotron_h",
    "use_mambapy": "falcon_mamba jamba mamba",
    "use_parallel_residual": "gpt_neox stablelm",
    "use_qk_norm": "cohere glm4_moe llama4_text",
    "use_qkv_bias": "stablelm",
    "use_sliding_window": "qwen2 qwen2_5_vl_text qwen2_moe qwen2_vl_text qwen3 qwen3_moe smollm3",
    "v_head_dim": """
        bailing_hybrid deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa kimi_linear
        longcat_flash mimo_v2_flash minicpm3 mistral4
        """,
    "video_token_id": """
        gemma4 gemma4_unified kimi_k25 muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5
        qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "video_token_index": "minimax_m3_vl",
    "vision_config": """
        gemma3 gemma3n gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "vision_end_token_id": """
        kimi_k25 qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "vision_feature_layer": "llava mistral3",
    "vision_soft_tokens_per_image": "gemma3n",
    "vision_start_token_id": """
        kimi_k25 qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "vocab_size_per_layer_input": "gemma3n_text gemma4_text",
    "w_init_variance_scale": "recurrent_gemma",
    "zero_expert_num": "longcat_flash",
}
#: The types that have it not, of a field that most have.
_OF_MOST = {
    "attention_bias": """
        dbrx ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon_mamba gemma3 gemma3n gemma4
        gemma4_unified gpt2 gpt_bigcode gptj jamba kimi_k25 lfm2 lfm2_moe llama4 llava mamba
        mamba2 minimax minimax_m2 minimax_m3_vl minimax_m3_vl_text ministral3 mistral mistral3
        mixtral muse_glimmer muse_spark phi phi3 qwen2 qwen2_5_vl qwen2_5_vl_text qwen2_moe
        qwen2_vl qwen2_vl_text qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe stablelm starcoder2
        """,
    "attention_dropout": """
        dbrx ernie4_5 ernie4_5_moe falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2
        gpt_bigcode gptj kimi_k25 lfm2 lfm2_moe llama4 llava mamba mamba2 minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "bos_token_id": """
        gemma3 gemma3n gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        qwen3_vl_text
        """,
    "eos_token_id": """
        gemma3 gemma3n gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        qwen3_vl_text
        """,
    "hidden_act": """
        dbrx gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text gemma4_unified
        gemma4_unified_text gpt2 gpt_bigcode gptj kimi_k25 lfm2 lfm2_moe llama4 llava
        minimax_m3_vl mistral3 muse_glimmer muse_spark nemotron_h qwen2_5_vl qwen2_vl qwen3_5
        qwen3_5_moe qwen3_vl qwen3_vl_moe recurrent_gemma
        """,
    "hidden_size": """
        dbrx gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gptj kimi_k25 llama4 llava
        minimax_m3_vl mistral3 muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe
        qwen3_vl qwen3_vl_moe
        """,
    "initializer_range": """
        kimi_k25 llama4 llava minimax_m3_vl mistral3 muse_glimmer muse_spark qwen2_5_vl qwen2_vl
        qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe recurrent_gemma
        """,
    "intermediate_size": """
        dbrx falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gptj kimi_k25
        llama4 llava longcat_flash mamba mamba2 minimax_m3_vl mistral3 muse_glimmer muse_spark
        qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_vl qwen3_vl_moe solar_open
        """,
    "max_position_embeddings": """
        dbrx falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gptj kimi_k25
        llama4 llava mamba mamba2 minimax_m3_vl mistral3 muse_glimmer muse_spark qwen2_5_vl
        qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe recurrent_gemma
        """,
    "num_attention_heads": """
        dbrx falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gptj kimi_k25
        llama4 llava mamba mamba2 minimax_m3_vl mistral3 muse_glimmer muse_spark qwen2_5_vl
        qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "num_hidden_layers": """
        dbrx gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gptj kimi_k25 llama4 llava
        longcat_flash minimax_m3_vl mistral3 muse_glimmer muse_spark nemotron_h qwen2_5_vl
        qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "num_key_value_heads": """
        dbrx falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gpt_neox gptj
        kimi_k25 llama4 llava mamba mamba2 minimax_m3_vl mistral3 muse_glimmer muse_spark
        qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "pad_token_id": """
        gemma3 gemma3n gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "rms_norm_eps": """
        cohere cohere2 dbrx falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode
        gpt_neox gptj kimi_k25 lfm2 lfm2_moe llama4 llava mamba mamba2 minimax_m3_vl mistral3
        muse_glimmer muse_spark nemotron nemotron_h olmo phi qwen2_5_vl qwen2_vl qwen3_5
        qwen3_5_moe qwen3_vl qwen3_vl_moe stablelm starcoder2
        """,
    "rope_parameters": """
        falcon_mamba gemma3 gemma3n gemma4 gemma4_unified gpt2 gpt_bigcode gptj jamba kimi_k25
        kimi_linear llama4 llava mamba mamba2 minimax_m3_vl mistral3 muse_glimmer muse_spark
        nemotron_h qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "tie_word_embeddings": "muse_glimmer muse_spark qwen2_5_vl_text qwen2_vl_text qwen3_vl_text",
    "use_cache": """
        gemma3 gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3 muse_glimmer
        muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
    "vocab_size": """
        gemma3 gemma3n gemma4 gemma4_unified kimi_k25 llama4 llava minimax_m3_vl mistral3
        muse_glimmer muse_spark qwen2_5_vl qwen2_vl qwen3_5 qwen3_5_moe qwen3_vl qwen3_vl_moe
        """,
}


@cache
def _letters() -> Mapping[str, str]:
    return {name: letters for letters, names in _FIELDS.items() for name in names.split()}


def _has(model_type: str, field: str) -> bool:
    if field in _OF_MOST:
        return model_type in DEFAULTS and model_type not in _OF_MOST[field].split()
    return model_type in _OF_FEW.get(field, "").split()


def forms_of(model_type: str, field: str) -> str:
    """The letters of the forms that ``field`` may have in a config of that type; '' if its class in
    transformers declares no such field, or it is none that mlx-lm has too."""
    if not _has(model_type, field):
        return ""
    letters = _letters()[field]
    if model_type in _OTHER_ABOUT_NULL.get(field, "").split():
        return letters[:-1] if letters.endswith("n") else letters + "n"
    return letters


def wanted_form(model_type: str, field: str, value: Any) -> str:
    """What transformers takes there, in words, if it refuses ``value``; else ''."""
    letters = forms_of(model_type, field)
    # The type itself is asked for: true is no integer, and 1 no float.
    if not letters or any(type(value) is _FORMS[letter][1] for letter in letters):
        return ""
    return " or ".join(_FORMS[letter][0] for letter in letters)
