model m
t sonde points m
