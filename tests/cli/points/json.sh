model m
sonde points m --json --points 'blocks.1.{resid_pre,attn.pattern,attn.q},logits'
