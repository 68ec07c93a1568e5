# the options of capture, with their defaults and bounds, in two groups
sonde capture --help
