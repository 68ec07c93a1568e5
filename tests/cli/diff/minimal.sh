# a minimal capture that anyone wrote with h5py is accepted by info and diff
h5py=/usr/bin/python3
$h5py -c 'import h5py' 2> /dev/null || skip "python3-h5py is not installed"
for name in a b; do
    $h5py - $name.h5 <<'P'
import sys
import h5py, numpy
with h5py.File(sys.argv[1], "w") as f:
    f.attrs["format_version"] = 1
    f["activations/blocks.0.resid_post"] = numpy.arange(12, dtype="f4").reshape(3, 4)
    f["rows/sequence"] = numpy.zeros(3, "u8")
    f["rows/position"] = numpy.arange(3, dtype="u4")
    f["rows/token"] = numpy.array([5, 6, 7], "u4")
P
done
t sonde info a.h5
sonde diff a.h5 b.h5 | tail -n 1
