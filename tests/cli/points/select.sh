model m
t sonde points m --points 'blocks.*.resid_post'
t sonde points m --points 'blocks.-1.attn.{q,k}' --points embed
t sonde points m --points 'blocks.1.attn.q[0]'
