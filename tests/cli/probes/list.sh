sonde probes
sonde probes capture | sed 's|file .*/|file  |'
sonde probes capture --json | grep -v '"file"'
t sonde probes captur
t sonde probes nothing-like-it
SONDE_PROBE_PATH=/nowhere sonde probes capture > /dev/null && echo still there
