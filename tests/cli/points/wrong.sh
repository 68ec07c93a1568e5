# a typo, a point that the family lacks and why, a syntax error, a block that is not there
model m
t sonde points m --points 'blocks.*.resid_pots'
t sonde points m --points 'block.0.resid_post'
t sonde points m --points 'blocks.0.attn.patern'
t sonde points m --points 'blocks.0.moe.router_logits'
t sonde points m --points 'blocks.0.attn.q_normed'
t sonde points m --points pos_embed
t sonde points m --points 'blocks.2.resid_post'
t sonde points m --points 'blocks.{0,1.resid_post'
t sonde points m --points ''
