model m
t sonde bench nowhere
t sonde bench m --thread-counts 0
t sonde bench m --thread-counts 1,two
t sonde bench m --rounds 0
