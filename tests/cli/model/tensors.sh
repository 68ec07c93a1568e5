# a tensor that is missing, of another shape, of another dtype, or not finite
model m --drop model.layers.1.mlp.up_proj.weight
t sonde info m
model m --rename lm_head.weight=lm_haed.weight
t sonde info m
model m --shape model.layers.0.self_attn.q_proj.weight=16,17
t sonde info m
model m --shape model.norm.weight=15
t sonde info m
model m --dtype model.layers.0.self_attn.v_proj.weight=I64
t sonde info m
