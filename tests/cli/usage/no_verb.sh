# no verb: help on stderr, exit 2
sonde
