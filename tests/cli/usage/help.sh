# every verb explains itself, on stdout, and ends with 0
sonde --help
for verb in capture generate points plan info tokens probes diff bench; do
    echo "---- $verb"
    sonde $verb --help | sed -n '1,3p'
    sonde help $verb | cmp - "$(sonde $verb -h > again && echo again)" && echo same
done
sonde help serve
