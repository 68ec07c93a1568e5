# stdout that takes nothing: a full device is told, a reader that went away is not
model m
sonde points m > /dev/full
echo "exit $?"
(sonde points m; echo "exit $?" >&2) | true
sonde points m | head -n 1
