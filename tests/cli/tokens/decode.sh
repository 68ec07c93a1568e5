model m
t sonde tokens m --decode -p '279 39 72, 277' -p '[39, 72]' -p '{"tokens": [39], "x": 1}'
t sonde tokens m --decode -p '279 39 72' --skip-special
t sonde tokens m --decode -p '39 72' --json
sonde tokens m -p 'Hé<x>llo' --json > line
t sonde tokens m --decode - < line
