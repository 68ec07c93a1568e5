#!/usr/bin/python3
"""Checks capture files against lib/store/FORMAT.md with stock h5py, no plugin.

    check_capture.py FILE...        prints what is wrong with each file; exit 1 when anything is
    check_capture.py PROGRAM        (make check) writes captures with the test programs in $BUILD and
                                    checks those, values included
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

ROWS = {"sequence": "u8", "position": "u4", "token": "u4", "phase": "u1", "segment": "u1",
        "logprob": "f4"}
SEQUENCES = {"sequence": "u8", "row_start": "u8", "row_count": "u4", "n_prompt": "u4", "xxh3": "u8",
             "status": "u1", "last_token": "i8", "last_logprob": "f4", "id_is_given": "u1"}
FLAGS = {"rows/phase": "prompt generated continuation",
         "rows/segment": "none system user assistant reasoning tool markup",
         "sequences/status": "done stopped cut skipped"}
STORED = {"f2", "f4", "f8", "i4", "i8", "u1"}
FILTERS = {1, 2}  # deflate, shuffle
ROOT = {"format": str, "format_version": int, "hook_vocabulary": int, "shard_index": int,
        "shard_count": int, "sealed": int, "complete": int}


class Check:
    """Collects what is wrong with one file."""

    def __init__(self, path):
        self.path, self.wrong, self.file = path, [], h5py.File(path, "r")

    def need(self, condition, what):
        if not condition:
            self.wrong.append(what)
        return bool(condition)

    def text(self, holder, name):
        value = holder.attrs.get(name)
        return value.decode() if isinstance(value, bytes) else value

    def texts(self, holder, name):
        if name in holder.attrs:
            return [v.decode() for v in holder.attrs[name]]
        return [v.decode() for v in holder[name][()]] if name in holder else None

    def column(self, path, kind, length=None):
        """A dataset with one dimension, of a kind as in 'u8'; None when it is not there."""
        if not self.need(path in self.file, f"{path} is missing"):
            return None
        data = self.file[path]
        self.need(data.ndim == 1, f"{path} has {data.ndim} dimensions")
        self.need(data.dtype.str[1:] == kind, f"{path} is {data.dtype}, not {kind}")
        if length is not None:
            self.need(len(data) == length, f"{path} has {len(data)} entries, not {length}")
        return data

    def lists(self, path, kind, entries, data_name="data"):
        """data and indptr; the offsets rise from 0 to the length of data."""
        data = self.column(f"{path}/{data_name}", kind)
        indptr = self.column(f"{path}/indptr", "u8", entries + 1)
        if data is None or indptr is None or len(indptr) == 0:
            return
        ends = indptr[()]
        self.need(ends[0] == 0, f"{path}/indptr begins with {ends[0]}")
        self.need(np.all(ends[1:] >= ends[:-1]), f"{path}/indptr falls")
        self.need(ends[-1] == len(data), f"{path}/indptr ends with {ends[-1]}, data with {len(data)}")

    # ---- parts of the file

    def root(self):
        for name, kind in ROOT.items():
            if self.need(name in self.file.attrs, f"attribute {name} is missing"):
                value = self.file.attrs[name]
                fits = isinstance(value, bytes) if kind is str else np.issubdtype(type(value), np.integer)
                self.need(fits, f"attribute {name} is {type(value).__name__}")
        self.need(self.text(self.file, "format") == "sonde-capture", "format is not sonde-capture")
        self.need(self.file.attrs.get("sealed") == 1, "it is not sealed")

    def dataframe(self, path):
        group = self.file[path]
        self.need(self.text(group, "encoding-type") == "dataframe", f"{path} is no dataframe")
        self.need(self.text(group, "encoding-version") == "0.2.0", f"{path}: encoding-version")
        index = self.text(group, "_index")
        self.need(index in group, f"{path}: its _index {index} is missing")
        for name in self.texts(group, "column-order") or []:
            if self.need(name in group, f"{path}: column {name} is missing"):
                self.need("encoding-type" in group[name].attrs, f"{path}/{name}: no encoding-type")

    def flags(self, path):
        data = self.file[path]
        words = (self.text(data, "flag_meanings") or "").split()
        self.need(words == FLAGS[path].split(), f"{path}: flag_meanings are {words}")
        self.need(list(data.attrs.get("flag_values", [])) == list(range(len(words))),
                  f"{path}: flag_values")
        self.need(len(data) == 0 or data[()].max() < len(words), f"{path}: a code without a meaning")

    def rows(self):
        n = len(self.file["rows/sequence"])
        for name, kind in ROWS.items():
            self.column(f"rows/{name}", kind, n)
        for name in self.file["rows"]:
            self.need(len(self.file["rows"][name]) == n, f"rows/{name} has another length")
        self.dataframe("rows")
        self.flags("rows/phase")
        self.flags("rows/segment")
        self.need(h5py.h5ds.is_scale(self.file["rows/position"].id), "rows/position is no dimension scale")
        return n

    def sequences(self, rows):
        n = len(self.file["sequences/sequence"])
        for name, kind in SEQUENCES.items():
            self.column(f"sequences/{name}", kind, n)
        self.lists("sequences/id", "u1", n)
        self.lists("sequences/text", "u1", n)
        self.lists("sequences/tokens", "u4", n)
        tokens = len(self.file["sequences/tokens/data"])
        self.column("sequences/tokens/text_start", "u4", tokens)
        self.column("sequences/tokens/text_end", "u4", tokens)
        self.flags("sequences/status")
        start, count = self.file["sequences/row_start"][()], self.file["sequences/row_count"][()]
        self.need(np.all(start + count <= rows), "a sequence ends behind the last row")
        if n:
            self.need(int(count.sum()) == rows, "row counts of sequences do not sum up to /rows")
            labels = np.repeat(self.file["sequences/sequence"][()], count)
            self.need(np.array_equal(labels, self.file["rows/sequence"][()]),
                      "rows/sequence is not what row_start and row_count say")
        self.texts_are_utf8(n)
        self.meta(n)

    def texts_are_utf8(self, n):
        for name in ("id", "text"):
            data = self.file[f"sequences/{name}/data"][()].tobytes()
            ends = self.file[f"sequences/{name}/indptr"][()]
            for i in range(n):
                try:
                    data[ends[i]:ends[i + 1]].decode()
                except UnicodeDecodeError:
                    self.need(False, f"sequences/{name} {i} is no UTF-8")

    def meta(self, n):
        self.dataframe("sequences/meta")
        for name, item in self.file["sequences/meta"].items():
            kind = self.text(item, "encoding-type")
            path = f"sequences/meta/{name}"
            if isinstance(item, h5py.Dataset):
                self.need(len(item) == n, f"{path} has {len(item)} entries, not {n}")
                if self.text(item, "content") == "json":
                    for value in item[()]:
                        if value:
                            json.loads(value)
            elif kind in ("nullable-integer", "nullable-boolean"):
                self.column(f"{path}/values", "i8" if kind == "nullable-integer" else "b1", n)
                self.need(self.file[f"{path}/mask"].dtype == bool, f"{path}/mask is not bool")
            elif kind == "categorical":
                codes = self.column(f"{path}/codes", "i4", n)
                self.need(codes[()].max(initial=-1) < len(item["categories"]), f"{path}: a code too big")
            elif "codes" not in item:
                self.lists(path, "u1", n)

    def points(self, rows):
        group = self.file["activations"]
        order = self.texts(group, "order")
        if not self.need(order is not None, "activations has no order"):
            return
        self.need(sorted(order) == sorted(set(group) - {"order"}), "order is not the list of points")
        for name in order:
            self.point(name, group[name], rows)

    def point(self, name, item, rows):
        path = f"activations/{name}"
        for attribute in ("hook_point", "layer", "logical_dtype", "lossy", "valid_rows"):
            self.need(attribute in item.attrs, f"{path}: attribute {attribute} is missing")
        own = int(item.attrs.get("valid_rows", 0))
        if "rowmap" in item.attrs:
            rowmap = self.column(f"rowmap/{name}", "u8", own)
            if rowmap is not None and own:
                values = rowmap[()]
                self.need(np.all(values[1:] > values[:-1]), f"rowmap/{name} does not rise")
                self.need(values[-1] < rows, f"rowmap/{name} names a row that is not there")
        else:
            self.need(own == rows, f"{path} has {own} rows, /rows {rows}")
        if isinstance(item, h5py.Group):
            self.lists(path, item["data"].dtype.str[1:], own)
            self.column(f"{path}/first_key", "u4", own)
            self.need(item.attrs.get("heads", 0) > 0, f"{path}: no heads")
            item = item["data"]
        else:
            self.need(item.shape[0] == own, f"{path} has {item.shape[0]} rows, valid are {own}")
        self.need(item.dtype.str[1:] in STORED, f"{path} is stored as {item.dtype}")

    def rest(self):
        for name in ("manifest", "run", "interventions"):
            if name in self.file:
                json.loads(self.file[name][()] or b"null")
                self.need("xxh3_128" in self.file[name].attrs, f"{name} has no xxh3_128")
        if "vocab" in self.file:
            ids = self.file["vocab/id"][()]
            self.need(np.all(ids[1:] > ids[:-1]), "vocab/id does not rise")
            self.lists("vocab", "u1", len(ids))
            seen = np.unique(self.file["sequences/tokens/data"][()])
            self.need(np.all(np.isin(seen, ids)), "vocab lacks an id that occurs")
        for name, group in self.file.get("probes", {}).items():
            for attribute in ("probe", "version", "options", "rows_seen"):
                self.need(attribute in group.attrs or attribute in group,
                          f"probes/{name}: attribute {attribute} is missing")

    def chunks(self):
        """Every streamed chunk is in the log, where HDF5 says it is; filters need no plugin."""
        log = self.file["chunklog"][()]
        names = self.texts(self.file, "chunklog_datasets")
        logged = {}
        for record in log:
            logged.setdefault(names[record["dataset"]], {})[int(record["first_row"])] = record
        for name in names:
            data = self.file[name]
            for i in range(data.id.get_num_chunks()):
                info = data.id.get_chunk_info(i)
                record = logged.get(name, {}).pop(info.chunk_offset[0], None)
                self.need(record is not None and record["offset"] == info.byte_offset
                          and record["csize"] == info.size, f"{name}: chunk {i} is not as logged")
            self.need(not logged.get(name), f"{name}: the log has chunks that are not there")

    def everything(self, name, item):
        if isinstance(item, h5py.Dataset):
            create = item.id.get_create_plist()
            filters = {create.get_filter(i)[0] for i in range(create.get_nfilters())}
            self.need(filters <= FILTERS, f"{name}: filters {filters}")
            item[()]

    def run(self):
        self.root()
        for group in ("rows", "sequences", "activations", "chunklog", "sequences/meta"):
            if not self.need(group in self.file, f"{group} is missing"):
                return self.wrong
        rows = self.rows()
        self.sequences(rows)
        self.points(rows)
        self.rest()
        self.chunks()
        self.file.visititems(self.everything)
        return self.wrong


# ---- the capture of tests/support/capture_case.c


def case_values(path):
    """What differs between a file and the rule that its values follow."""
    wrong, file = [], h5py.File(path, "r")
    counts = [5 + 7 * i % 23 for i in range(60)]
    rows = np.arange(sum(counts), dtype=np.uint64)[:, None]
    channels = np.arange(48, dtype=np.uint64)[None, :]
    z = (rows * np.uint64(1315423911) + channels * np.uint64(2654435761)) * np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(29)
    bits = ((z >> np.uint64(40) & np.uint64(1)) << np.uint64(15)
            | (np.uint64(120) + (z >> np.uint64(8)) % np.uint64(5)) << np.uint64(7)
            | z & np.uint64(0x7F)).astype(np.uint32)
    expected = (bits << np.uint32(16)).view(np.float32)
    if not np.array_equal(file["activations/blocks.0.resid_post"][()], expected):
        wrong.append("bf16 values differ")
    if not np.array_equal(file["activations/blocks.1.resid_pre"][()], expected):
        wrong.append("the second name shows other values")
    row, scores = 0, []
    for count in counts:
        for k in range(count):
            scores.append(np.float32(row) + np.arange(3 * (k + 1), dtype=np.float32) / 1024)
            row += 1
    if not np.array_equal(file["activations/blocks.1.attn.scores/data"][()], np.concatenate(scores)):
        wrong.append("ragged values differ")
    meta = file["sequences/meta"]
    if not np.array_equal(meta["count"][()], np.arange(60) ** 2):
        wrong.append("an integer column differs")
    if not np.array_equal(meta["good"][()], np.arange(60) % 2 == 1):
        wrong.append("a bool column differs")
    if [v for v in meta["label"].asstr()[:3]] != ["tea", "caf\u00e9", "caf\u00e9"]:
        wrong.append("a text column differs")
    if not np.array_equal(meta["some_count/mask"][()], np.arange(60) % 4 == 0):
        wrong.append("a mask differs")
    return wrong + case_tables(path)


def case_tables(path):
    try:
        import anndata
    except ImportError:
        return []
    read = getattr(anndata, "io", None) and anndata.io.read_elem or anndata.experimental.read_elem
    with h5py.File(path, "r") as file:
        rows, meta = read(file["rows"]), read(file["sequences/meta"])
    good = len(rows) == rows["position"].size and len(meta) == 60 and meta["count"].iloc[9] == 81
    return [] if good else ["anndata reads other tables"]


def check_cases(build):
    program = os.path.join(build, "tests", "unit", "test_schema")
    if not os.path.exists(program):
        print(f"skipped: {program} was not built")
        return 77
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for codec in ("deflate", "raw"):
            for target in ("0", "2048"):
                path = os.path.join(folder, f"{codec}-{target}.h5")
                subprocess.run([program, "--write", path, codec, target], check=True)
                wrong = Check(path).run() + case_values(path)
                for line in wrong:
                    print(f"{codec}, chunks of {target} bytes: {line}")
                passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    paths = sys.argv[1:]
    if not paths or not all(os.path.isfile(p) and h5py.is_hdf5(p) for p in paths):
        if len(paths) > 1 or "BUILD" not in os.environ:
            print(__doc__)
            return 2
        return check_cases(os.environ["BUILD"])
    bad = 0
    for path in paths:
        wrong = Check(path).run()
        print("\n".join(f"{path}: {line}" for line in wrong) or f"{path}: as FORMAT.md says")
        bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
