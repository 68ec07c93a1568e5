model m
t sonde tokens m --decode -p '280'
t sonde tokens m --decode -p '-1'
t sonde tokens m --decode -p '39 hi'
t sonde tokens m --decode -p '[39, "a"]'
t sonde tokens m --decode -p '[39'
t sonde tokens m --decode -p '{"text": "hi"}'
t sonde tokens m --decode -p '99999999999999999999'
