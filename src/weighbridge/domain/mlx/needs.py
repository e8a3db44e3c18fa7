"""Fields of a config.json that mlx-lm cannot do without: those of its classes that have no default.

Without one mlx-lm raises when it loads the model. The sizes that every model has are left out:
whether those are there is asked whatever the stack. Taken from mlx-lm 0.32's sources; a test takes
them from there again.
"""

from __future__ import annotations

from collections.abc import Mapping

#: By mlx-lm's module.
_NEEDS = {
    "Klear": """
        attention_bias mlp_only_layers num_experts num_experts_per_tok decoder_sparse_step
        n_shared_experts moe_intermediate_size rms_norm_eps num_key_value_heads rope_theta
        max_position_embeddings norm_topk_prob
        """,
    "afm7": "hidden_dim num_layers num_kv_reuse_layers num_heads num_kv_heads",
    "afmoe": "layer_types",
    "apertus": """
        mlp_bias attention_bias rms_norm_eps num_key_value_heads max_position_embeddings
        rope_theta post_norm qk_norm tie_word_embeddings
        """,
    "baichuan_m1": """
        num_key_value_heads rope_theta sliding_window sliding_window_layers conv_window
        rms_norm_eps
        """,
    "bailing_hybrid": """
        moe_intermediate_size num_key_value_heads num_experts num_experts_per_tok
        num_shared_experts n_group topk_group first_k_dense_replace layer_group_size
        group_norm_size rms_norm_eps rope_theta max_position_embeddings routed_scaling_factor
        head_dim kv_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim
        """,
    "bailing_moe": """
        max_position_embeddings moe_intermediate_size num_experts num_shared_experts
        norm_topk_prob num_experts_per_tok num_key_value_heads rms_norm_eps rope_theta
        first_k_dense_replace
        """,
    "bailing_moe_linear": """
        max_position_embeddings moe_intermediate_size num_experts num_shared_experts
        norm_topk_prob num_experts_per_tok num_key_value_heads rms_norm_eps rope_theta
        first_k_dense_replace layer_group_size group_norm_size
        """,
    "bitnet": "num_key_value_heads rms_norm_eps",
    "dbrx": "d_model ffn_config attn_config n_layers n_heads",
    "dots1": """
        rms_norm_eps max_position_embeddings num_key_value_heads first_k_dense_replace
        moe_intermediate_size n_routed_experts n_shared_experts norm_topk_prob num_experts_per_tok
        rope_theta routed_scaling_factor
        """,
    "ernie4_5": """
        max_position_embeddings num_key_value_heads head_dim rms_norm_eps rope_theta use_bias
        tie_word_embeddings
        """,
    "ernie4_5_moe": """
        max_position_embeddings num_key_value_heads rms_norm_eps rope_theta use_bias
        tie_word_embeddings moe_num_experts
        """,
    "exaone": "num_layers rope_theta layer_norm_epsilon num_key_value_heads",
    "exaone4": """
        rms_norm_eps num_key_value_heads max_position_embeddings rope_theta head_dim
        tie_word_embeddings rope_scaling sliding_window sliding_window_pattern
        """,
    "exaone_moe": """
        moe_intermediate_size num_key_value_heads head_dim num_experts num_experts_per_tok
        num_shared_experts rms_norm_eps max_position_embeddings sliding_window layer_types
        is_moe_layer
        """,
    "gear": "num_key_value_heads head_dim rms_norm_eps layer_types",
    "gemma": "head_dim rms_norm_eps num_key_value_heads",
    "gemma2": "head_dim rms_norm_eps num_key_value_heads",
    "gemma3n": """
        head_dim rms_norm_eps num_key_value_heads num_kv_shared_layers vocab_size_per_layer_input
        sliding_window max_position_embeddings rope_local_base_freq rope_theta
        final_logit_softcapping layer_types activation_sparsity_pattern
        hidden_size_per_layer_input altup_num_inputs altup_coef_clip altup_correct_scale
        altup_active_idx laurel_rank
        """,
    "glm": "rms_norm_eps head_dim num_key_value_heads",
    "glm4": """
        attention_bias head_dim rms_norm_eps num_key_value_heads partial_rotary_factor rope_theta
        """,
    "glm4_moe": """
        max_position_embeddings moe_intermediate_size norm_topk_prob n_group head_dim topk_group
        n_shared_experts n_routed_experts routed_scaling_factor num_experts_per_tok
        first_k_dense_replace num_key_value_heads rms_norm_eps rope_theta rope_scaling use_qk_norm
        tie_word_embeddings attention_bias partial_rotary_factor
        """,
    "glm_moe_dsa": """
        index_head_dim index_n_heads index_topk moe_intermediate_size num_key_value_heads
        n_shared_experts n_routed_experts routed_scaling_factor kv_lora_rank q_lora_rank
        qk_rope_head_dim v_head_dim qk_nope_head_dim topk_method scoring_func norm_topk_prob
        n_group topk_group num_experts_per_tok moe_layer_freq first_k_dense_replace
        max_position_embeddings rms_norm_eps rope_parameters attention_bias
        """,
    "gpt2": "n_ctx n_embd n_head n_layer n_positions layer_norm_epsilon",
    "gpt_bigcode": "n_embd n_layer n_inner n_head n_positions layer_norm_epsilon",
    "gpt_neox": "max_position_embeddings layer_norm_eps rotary_emb_base rotary_pct",
    "granite": """
        rms_norm_eps logits_scaling attention_multiplier embedding_multiplier residual_multiplier
        max_position_embeddings num_key_value_heads attention_bias mlp_bias rope_theta
        """,
    "granitemoe": """
        rms_norm_eps logits_scaling attention_multiplier embedding_multiplier residual_multiplier
        max_position_embeddings num_key_value_heads attention_bias rope_theta num_local_experts
        num_experts_per_tok
        """,
    "granitemoehybrid": """
        max_position_embeddings num_key_value_heads attention_bias embedding_multiplier
        attention_multiplier logits_scaling residual_multiplier layer_types rms_norm_eps
        """,
    "helium": """
        num_key_value_heads rms_norm_eps attention_bias head_dim max_position_embeddings mlp_bias
        rope_theta tie_word_embeddings
        """,
    "hunyuan": """
        num_key_value_heads attention_bias moe_topk num_experts num_shared_expert
        use_mixed_mlp_moe use_qk_norm rms_norm_eps rope_theta use_cla cla_share_factor
        """,
    "hunyuan_v1_dense": "num_key_value_heads rms_norm_eps",
    "internlm2": "rms_norm_eps",
    "internlm3": "rms_norm_eps",
    "iquestloopcoder": "rms_norm_eps head_dim num_key_value_heads",
    "jamba": """
        num_key_value_heads attn_layer_offset attn_layer_period expert_layer_offset
        expert_layer_period mamba_d_conv mamba_d_state mamba_expand num_experts
        num_experts_per_tok rms_norm_eps max_position_embeddings
        """,
    "kimi_linear": """
        num_key_value_heads head_dim rope_theta rms_norm_eps linear_attn_config model_max_length
        num_experts moe_intermediate_size kv_lora_rank
        """,
    "lfm2": """
        num_key_value_heads max_position_embeddings norm_eps conv_bias conv_L_cache block_dim
        block_multiple_of block_ffn_dim_multiplier block_auto_adjust_ff_dim
        """,
    "lfm2_moe": """
        moe_intermediate_size num_experts num_experts_per_tok norm_topk_prob num_key_value_heads
        max_position_embeddings use_expert_bias num_dense_layers norm_eps conv_bias conv_L_cache
        """,
    "lille-130m": "block_size layer_norm_eps n_embd n_head n_kv_heads n_layer rope_theta",
    "llama": "rms_norm_eps",
    "llama4": """
        attention_bias attention_chunk_size head_dim interleave_moe_layer_step
        intermediate_size_mlp max_position_embeddings num_experts_per_tok num_key_value_heads
        num_local_experts rms_norm_eps rope_scaling rope_theta use_qk_norm
        """,
    "llama4_text": """
        intermediate_size_mlp num_key_value_heads rms_norm_eps rope_theta head_dim
        tie_word_embeddings no_rope_layers use_qk_norm
        """,
    "longcat_flash": """
        attention_method zero_expert_type ffn_hidden_size moe_topk expert_ffn_hidden_size
        n_routed_experts zero_expert_num num_layers max_position_embeddings kv_lora_rank
        q_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim routed_scaling_factor
        rms_norm_eps rope_theta mla_scale_q_lora mla_scale_kv_lora attention_bias
        """,
    "longcat_flash_ngram": """
        ffn_hidden_size moe_topk expert_ffn_hidden_size n_routed_experts zero_expert_num
        num_layers max_position_embeddings kv_lora_rank q_lora_rank qk_rope_head_dim
        qk_nope_head_dim v_head_dim routed_scaling_factor rms_norm_eps rope_theta mla_scale_q_lora
        mla_scale_kv_lora
        """,
    "mamba": "state_size conv_kernel use_bias use_conv_bias time_step_rank",
    "mamba2": """
        num_heads head_dim state_size layer_norm_epsilon conv_kernel n_groups use_bias
        use_conv_bias tie_word_embeddings time_step_limit time_step_rank
        """,
    "mellum": """
        num_experts num_experts_per_tok moe_intermediate_size rms_norm_eps num_key_value_heads
        head_dim tie_word_embeddings max_position_embeddings norm_topk_prob sliding_window
        layer_types
        """,
    "mimo": "rms_norm_eps num_key_value_heads",
    "mimo_v2_flash": """
        num_experts_per_tok hybrid_layer_pattern moe_layer_freq add_swa_attention_sink_bias
        add_full_attention_sink_bias sliding_window_size moe_intermediate_size num_key_value_heads
        n_shared_experts n_routed_experts routed_scaling_factor topk_method scoring_func
        norm_topk_prob n_group topk_group max_position_embeddings layernorm_epsilon rope_theta
        swa_rope_theta swa_num_attention_heads swa_num_key_value_heads head_dim v_head_dim
        swa_head_dim swa_v_head_dim partial_rotary_factor
        """,
    "minicpm": "dim_model_base rms_norm_eps num_key_value_heads scale_depth scale_emb",
    "minicpm3": """
        dim_model_base rms_norm_eps num_key_value_heads q_lora_rank qk_nope_head_dim
        qk_rope_head_dim kv_lora_rank scale_depth scale_emb max_position_embeddings
        """,
    "minimax": """
        num_key_value_heads max_position_embeddings num_experts_per_tok num_local_experts
        shared_intermediate_size rms_norm_eps rope_theta rotary_dim
        """,
    "ministral3": "rms_norm_eps",
    "mistral4": """
        moe_intermediate_size num_key_value_heads n_shared_experts n_routed_experts
        routed_scaling_factor kv_lora_rank q_lora_rank norm_topk_prob max_position_embeddings
        rms_norm_eps topk_group num_experts_per_tok first_k_dense_replace n_group qk_rope_head_dim
        qk_nope_head_dim v_head_dim
        """,
    "muse_spark": """
        num_key_value_heads head_dim rms_norm_eps post_norm_eps rope_parameters layer_rope_theta
        layer_types sliding_window final_logit_softcapping output_multiplier num_local_experts
        num_experts_per_tok moe_hidden_size moe_intermediate_size
        """,
    "nanbeige": "num_key_value_heads rms_norm_eps",
    "nemotron": "hidden_act norm_eps num_key_value_heads",
    "nemotron_h": """
        max_position_embeddings num_key_value_heads attention_bias mamba_num_heads mamba_head_dim
        mamba_proj_bias ssm_state_size conv_kernel n_groups mlp_bias layer_norm_epsilon use_bias
        use_conv_bias
        """,
    "olmo": "d_model n_layers mlp_hidden_size n_heads embedding_size",
    "olmo2": "rms_norm_eps",
    "olmo3": "rms_norm_eps max_position_embeddings sliding_window rope_theta",
    "olmo_hybrid": """
        num_key_value_heads rms_norm_eps max_position_embeddings linear_num_key_heads
        linear_num_value_heads linear_key_head_dim linear_value_head_dim linear_conv_kernel_dim
        linear_allow_neg_eigval tie_word_embeddings attention_bias
        """,
    "olmoe": "rms_norm_eps num_experts num_experts_per_tok",
    "openelm": """
        head_dim num_transformer_layers model_dim ffn_dim_divisor num_query_heads num_kv_heads
        ffn_multipliers
        """,
    "phi3": "rms_norm_eps",
    "phi3small": """
        dense_attention_every_n_layers ff_intermediate_size gegelu_limit layer_norm_epsilon
        num_key_value_heads
        """,
    "plamo": "rms_norm_eps",
    "qwen2": "rms_norm_eps num_key_value_heads",
    "qwen2_moe": """
        num_experts_per_tok num_experts moe_intermediate_size shared_expert_intermediate_size
        rms_norm_eps
        """,
    "qwen3": """
        rms_norm_eps num_key_value_heads max_position_embeddings head_dim tie_word_embeddings
        """,
    "qwen3_moe": """
        num_experts num_experts_per_tok decoder_sparse_step mlp_only_layers moe_intermediate_size
        rms_norm_eps num_key_value_heads head_dim rope_theta tie_word_embeddings
        max_position_embeddings norm_topk_prob
        """,
    "qwen3_next": """
        linear_num_value_heads linear_num_key_heads linear_key_head_dim linear_value_head_dim
        linear_conv_kernel_dim num_experts num_experts_per_tok decoder_sparse_step
        shared_expert_intermediate_size mlp_only_layers moe_intermediate_size rms_norm_eps
        num_key_value_heads rope_theta partial_rotary_factor max_position_embeddings head_dim
        """,
    "recurrent_gemma": """
        attention_bias conv1d_width logits_soft_cap num_key_value_heads rms_norm_eps rope_theta
        attention_window_size
        """,
    "rwkv7": "norm_eps head_dim a_low_rank_dim v_low_rank_dim gate_low_rank_dim decay_low_rank_dim",
    "seed_oss": "rms_norm_eps num_key_value_heads head_dim",
    "smollm3": "rms_norm_eps",
    "solar_open": """
        moe_intermediate_size num_key_value_heads head_dim n_shared_experts n_routed_experts
        routed_scaling_factor num_experts_per_tok first_k_dense_replace norm_topk_prob
        max_position_embeddings rms_norm_eps rope_theta tie_word_embeddings partial_rotary_factor
        """,
    "spark2_5": "num_key_value_heads head_dim sliding_window rope_parameters",
    "stablelm": "num_key_value_heads rope_theta use_qkv_bias partial_rotary_factor layer_norm_eps",
    "starcoder2": "num_key_value_heads",
    "step3p5": "num_attention_groups head_dim",
    "telechat3": "max_position_embeddings num_key_value_heads rms_norm_eps rope_theta",
}

NEEDS: Mapping[str, tuple[str, ...]] = {m: tuple(names.split()) for m, names in _NEEDS.items()}
