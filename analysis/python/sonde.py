"""Reads capture files of sonde: one file, h5py and numpy only (pandas tables if it is there).

    import sonde
    capture = sonde.open("run.h5")
    x = capture.rows("blocks.3.resid_post")          # float32 [rows, hidden]
    attention = capture.pattern(3, sequence=0)       # float32 [heads, T, T]
    table = capture.rows_table()                     # whose row is which: sequence, position, ...

Shapes are row-major, slowest first. A *row* is one token position of one sequence; `rows_table()`
says which. Activations have no unit: they are the model's numbers, in the stored precision
(bf16, f16 or f32), given as float32. Log-probabilities are in nats.

Values come through the stored bits: HDF5 itself converts bf16 ten times slower than it reads.
`python3 sonde.py FILE` lists a file, `python3 sonde.py --bench FILE` times it against plain h5py.
"""

import concurrent.futures
import json
import os
import re
import zlib

import h5py
import numpy as np

__all__ = ["open", "Capture", "Point", "CaptureError"]

FORMAT, FORMAT_VERSION = "sonde-capture", 1
BLOCK_BYTES = 32 << 20  # of float32 that iteration holds at once, unless told
SHUFFLE, DEFLATE = 2, 1  # numbers of HDF5 filters


class CaptureError(Exception):
    """A file that is no capture, or one that contradicts itself; the message names the object."""


def open(path):
    """A Capture of the file at `path`: sealed, unsealed (`.part`) or minimal."""
    return Capture(path)


# ---- stored bits ------------------------------------------------------------------------------


def _float_fields(kind):
    """(bytes, exponent bits, mantissa bits, bias) of an HDF5 float type."""
    _, _, exponent_bits, _, mantissa_bits = kind.get_fields()
    return kind.get_size(), exponent_bits, mantissa_bits, kind.get_ebias()


def _is_bf16(dataset):
    kind = dataset.id.get_type()
    if not isinstance(kind, h5py.h5t.TypeFloatID):
        return False
    little = kind.get_order() == h5py.h5t.ORDER_LE
    return little and _float_fields(kind) == (2, 8, 7, 127)


def _widen(bits, out=None):
    """bf16 bits (uint16) as float32 of the same shape; exact."""
    wide = np.empty(bits.shape, np.uint32) if out is None else out.view(np.uint32)
    np.left_shift(bits, 16, out=wide, dtype=np.uint32)
    return wide.view(np.float32)


def _pipeline(dataset):
    """(place of shuffle, place of deflate) in the filters, -1 where there is none; None when the
    chunks are not whole rows or something else filters them."""
    properties = dataset.id.get_create_plist()
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:]:
        return None
    names = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if names not in ([DEFLATE], [SHUFFLE, DEFLATE]):
        return None
    return names.index(SHUFFLE) if SHUFFLE in names else -1, names.index(DEFLATE)


def _decode(data, mask, pipeline, itemsize):
    """Elements of a chunk, as a list of byte planes when it was shuffled, else as one plane."""
    shuffle_at, deflate_at = pipeline
    if not mask >> deflate_at & 1:
        data = zlib.decompress(data)
    plain = np.frombuffer(data, np.uint8)
    if shuffle_at < 0 or mask >> shuffle_at & 1:
        return plain.reshape(-1, itemsize).T
    return plain.reshape(itemsize, -1)


def _join16(planes, n, out):
    """The first n elements of two byte planes as uint16, or as float32 with them on top."""
    high, low = planes[1][:n], planes[0][:n]
    if out.dtype == np.uint16:
        bits = out
    else:
        bits = np.empty(n, np.uint16)
    np.left_shift(high, 8, out=bits, dtype=np.uint16)
    np.bitwise_or(bits, low, out=bits)
    if out.dtype != np.uint16:
        _widen(bits, out)


def _read_chunk(dataset, pipeline, chunk, first, last, out):
    """Rows [first, last) of the dataset, which lie in one chunk, into out [last - first, ...]."""
    per_chunk = dataset.chunks[0]
    mask, data = dataset.id.read_direct_chunk((chunk * per_chunk,) + (0,) * (dataset.ndim - 1))
    planes = _decode(data, mask, pipeline, 2)
    width = int(np.prod(dataset.shape[1:], dtype=np.int64))
    start, stop = (first - chunk * per_chunk) * width, (last - chunk * per_chunk) * width
    _join16([p[start:stop] for p in planes], stop - start, out.reshape(-1))


def _read_direct(dataset, pipeline, first, last, out):
    """Chunks decoded in threads: zlib and numpy let others run meanwhile."""
    per_chunk = dataset.chunks[0]
    pieces = []
    for chunk in range(first // per_chunk, -(-last // per_chunk)):
        a, b = max(first, chunk * per_chunk), min(last, (chunk + 1) * per_chunk)
        pieces.append((chunk, a, b, out[a - first:b - first]))
    if len(pieces) < 4:
        for piece in pieces:
            _read_chunk(dataset, pipeline, *piece)
        return
    workers = min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(_read_chunk, dataset, pipeline, *piece) for piece in pieces]:
            done.result()


def _read_slab(dataset, first, last, bits):
    """Rows [first, last) as the file holds them: the file's own type is the memory type."""
    space = dataset.id.get_space()
    count = (last - first,) + dataset.shape[1:]
    space.select_hyperslab((first,) + (0,) * (dataset.ndim - 1), count)
    dataset.id.read(h5py.h5s.create_simple(count), space, bits, mtype=dataset.id.get_type())


def _read_bits(dataset, first, last):
    """Rows [first, last) in the stored type; bf16 as uint16."""
    if not _is_bf16(dataset):
        return dataset[first:last]
    bits = np.empty((last - first,) + dataset.shape[1:], np.uint16)
    if bits.size:
        pipeline = _pipeline(dataset)
        if pipeline:
            _read_direct(dataset, pipeline, first, last, bits)
        else:
            _read_slab(dataset, first, last, bits)
    return bits


def _element(dataset):
    """What values are given as: float32, but whole numbers (moe.expert_ids) as int32."""
    return np.int32 if dataset.dtype == np.int32 else np.float32


def _read_values(dataset, first, last):
    """Rows [first, last) as float32 or int32."""
    if not _is_bf16(dataset):
        return np.ascontiguousarray(dataset[first:last], _element(dataset))
    pipeline = _pipeline(dataset)
    if not pipeline:
        return _widen(_read_bits(dataset, first, last))
    out = np.empty((last - first,) + dataset.shape[1:], np.float32)
    if out.size:
        _read_direct(dataset, pipeline, first, last, out)
    return out


def _text(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def _attributes(item):
    """Attributes as plain Python values: texts, numbers, lists of texts."""
    found = {}
    for name, value in item.attrs.items():
        if isinstance(value, np.ndarray):
            found[name] = [_text(v) for v in value.tolist()]
        else:
            found[name] = _text(value.item() if isinstance(value, np.generic) else value)
    return found


def _natural(name):
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", name)]


def _frame(columns, pandas):
    """A dict of arrays as a DataFrame, when pandas is wanted (None: if it is there)."""
    if pandas is False:
        return columns
    try:
        from pandas import DataFrame
    except ImportError:
        if pandas:
            raise
        return columns
    return DataFrame(columns)


def _is_runs(item):
    return isinstance(item, h5py.Group) and "data" in item and "indptr" in item


def _runs(group, entry):
    """Entry of a group {data, indptr}."""
    first, last = (int(v) for v in group["indptr"][entry:entry + 2])
    return group["data"][first:last]


def _texts(group):
    """All entries of a group {data, indptr} of UTF-8 bytes, as an object array of str."""
    ends, data = group["indptr"][:].astype(np.int64), group["data"][:].tobytes()
    out = np.empty(max(len(ends) - 1, 0), object)
    for i in range(len(out)):
        out[i] = data[ends[i]:ends[i + 1]].decode("utf-8", "replace")
    return out


def _column(item):
    """A column as AnnData encodes it: numbers or texts as they are, {values, mask} masked, {codes,
    categories} as objects with None where a code is below 0, {data, indptr} of bytes as texts; None
    for anything else."""
    if isinstance(item, h5py.Dataset):
        values = item[:] if item.ndim == 1 else None
        if values is not None and values.dtype.kind in "SO":
            values = np.array([_text(v) for v in values.tolist()], object)
        return values
    if "values" in item and "mask" in item:
        return np.ma.masked_array(_column(item["values"]), item["mask"][:].astype(bool))
    if "codes" in item and "categories" in item:
        categories = np.append(_column(item["categories"]), [None])
        return categories[item["codes"][:].astype(np.int64)]
    return _texts(item) if _is_runs(item) and item["data"].dtype.itemsize == 1 else None


# ---- points -----------------------------------------------------------------------------------


class Point:
    """One hook point of a capture.

    name      "blocks.3.attn.q"
    shape     of one row ([heads, head_dim], [hidden], ...); of a ragged point: [heads]
    rows      how many rows are stored
    stored    "bf16", "float32", ... as in the file
    ragged    rows of different lengths: heads x visible keys (`attn.pattern`, `attn.scores`)
    parts     the selected parts as typed ("[0,4]"), or None for whole rows
    attrs     the attributes of the file
    """

    def __init__(self, capture, name, item):
        self.capture, self.name, self.item = capture, name, item
        self.attrs = _attributes(item)
        self.ragged = isinstance(item, h5py.Group)
        self.data = item["data"] if self.ragged else item
        self.stored = "bf16" if _is_bf16(self.data) else self.data.dtype.name
        self.parts = self.attrs.get("parts") or None
        self.row_map_data = capture.file.get("rowmap/" + name)
        if self.ragged:
            self.rows = max(item["indptr"].shape[0] - 1, 0)
            heads = self.attrs.get("heads")
            self.shape = (int(heads),) if heads else ()
        else:
            if item.ndim < 1:
                raise CaptureError(f"{capture.path}: {item.name}: expected [rows, ...]")
            self.rows, self.shape = item.shape[0], item.shape[1:]

    def __repr__(self):
        kind = "ragged " if self.ragged else ""
        return f"<{kind}point {self.name}: {self.rows} rows of {list(self.shape)}, {self.stored}>"

    def __len__(self):
        return self.rows

    def _range(self, first, last):
        last = self.rows if last is None else last
        if not 0 <= first <= last <= self.rows:
            raise IndexError(f"{self.name}: rows {first} to {last} of {self.rows}")
        return first, last

    def read(self, first=0, last=None):
        """Rows [first, last) as float32 (numbers of experts: int32) [last - first, *shape]. Ragged:
        a list, one array [heads, keys] a row (see `ragged`)."""
        first, last = self._range(first, last)
        if self.ragged:
            return [values for values, _ in self.ragged_rows(first, last)]
        return _read_values(self.data, first, last)

    def bits(self, first=0, last=None):
        """Rows [first, last) as stored; bf16 as uint16. Ragged: the flat values of those rows."""
        first, last = self._range(first, last)
        if self.ragged:
            ends = self.item["indptr"][first:last + 1]
            first, last = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
        return _read_bits(self.data, first, last)

    def take(self, rows):
        """The rows of an index array, in its order, as float32 [len(rows), *shape]."""
        rows = np.asarray(rows, np.int64)
        if self.ragged:
            return [self.read(int(r), int(r) + 1)[0] for r in rows]
        if rows.size and not (0 <= rows.min() and rows.max() < self.rows):
            raise IndexError(f"{self.name}: a row outside of 0..{self.rows - 1}")
        out = np.empty((len(rows),) + tuple(self.shape), _element(self.data))
        block = self.data.chunks[0] if self.data.chunks else 1024
        order = np.argsort(rows, kind="stable")
        cuts = np.flatnonzero(np.diff(rows[order] // block)) + 1
        for group in np.split(order, cuts) if len(order) else []:
            first, last = int(rows[group[0]]), int(rows[group[-1]]) + 1
            out[group] = _read_values(self.data, first, last)[rows[group] - first]
        return out

    def blocks(self, rows=None):
        """Iterates (first row, float32 [n, *shape]) in bounded memory: about 32 MiB a block, or
        `rows` rows. Ragged: (first row, list)."""
        if rows is None:
            width = 4 * max(int(np.prod(self.shape, dtype=np.int64)), 1)
            rows = 256 if self.ragged else max(BLOCK_BYTES // width, 1)
        chunk = self.data.chunks[0] if self.data.chunks and not self.ragged else 1
        rows = max(rows // chunk * chunk, 1) if rows >= chunk else rows
        for first in range(0, self.rows, rows):
            yield first, self.read(first, min(first + rows, self.rows))

    def row_map(self):
        """Index into the rows table of every row of this point: int64 [rows]."""
        if self.row_map_data is None:
            return np.arange(self.rows)
        return self.row_map_data[:self.rows].astype(np.int64)

    def ragged_rows(self, first=0, last=None):
        """Iterates (float32 [heads, keys], first key) over rows [first, last) of a ragged point;
        value [h, j] belongs to key position first key + j."""
        first, last = self._range(first, last)
        if not self.ragged:
            raise CaptureError(f"{self.name}: not a ragged point")
        if last == first:
            return
        ends = self.item["indptr"][first:last + 1].astype(np.int64)
        if np.any(np.diff(ends) < 0) or ends[-1] > self.data.shape[0] or ends[0] < 0:
            raise CaptureError(f"{self.capture.path}: {self.item.name}/indptr falls or passes data")
        has_keys = "first_key" in self.item
        keys = self.item["first_key"][first:last] if has_keys else np.zeros(last - first)
        heads = self.shape[0] if self.shape else 1
        values = _read_values(self.data, int(ends[0]), int(ends[-1]))
        for i in range(last - first):
            row = values[ends[i] - ends[0]:ends[i + 1] - ends[0]]
            yield row.reshape(heads, -1), int(keys[i])


# ---- captures ---------------------------------------------------------------------------------


class Capture:
    """A capture file. Use it with `with`, or close() it.

    points     names of hook points in the order in which the model computes them
    attrs      root attributes: model, model_hash, tokenizer_hash, backend, mode, ...
    manifest   what decided the content (dict; {} in minimal files); run: what did not
    sealed     the file was finished; complete: and nothing is missing from the run
    """

    def __init__(self, path):
        self.path = os.fspath(path)
        try:
            self.file = h5py.File(self.path, "r")
        except OSError as error:
            raise CaptureError(f"{self.path}: HDF5 cannot open it: {error}") from error
        try:
            self._load()
        except BaseException:
            self.file.close()
            raise

    def _load(self):
        self.attrs = _attributes(self.file)
        version = self.attrs.get("format_version", self._scalar("format_version"))
        if version is None or not 1 <= int(version) <= FORMAT_VERSION:
            raise CaptureError(f"{self.path}: format_version is {version}: this reads 1 to "
                               f"{FORMAT_VERSION}")
        if self.attrs.get("format", FORMAT) != FORMAT:
            raise CaptureError(f"{self.path}: format is {self.attrs['format']}: expected {FORMAT}")
        self.minimal = "format" not in self.attrs
        self.sealed = int(self.attrs.get("sealed", 1)) == 1
        self.complete = self.sealed and int(self.attrs.get("complete", 1)) == 1
        self.manifest, self.run = self._json("manifest"), self._json("run")
        for name in ("rows/sequence", "rows/position", "rows/token"):
            if not isinstance(self.file.get(name), h5py.Dataset):
                raise CaptureError(f"{self.path}: /{name}: expected a dataset, found none")
        self.n_rows = self.file["rows/sequence"].shape[0]
        self._items = self._find_points()
        self.points = self._order(list(self._items))
        self._vocab = None

    def _scalar(self, name):
        item = self.file.get(name)
        return item[()] if isinstance(item, h5py.Dataset) and item.shape == () else None

    def _json(self, name):
        text = _text(self._scalar(name))
        return json.loads(text) if text else {}

    def _find_points(self):
        found = {}

        def walk(group, prefix, depth):
            if depth > 8:
                raise CaptureError(f"{self.path}: {group.name}: groups are nested too deep")
            for name in group:
                if not isinstance(group.get(name, getlink=True), (h5py.HardLink, h5py.SoftLink)):
                    raise CaptureError(f"{self.path}: {group.name}/{name} leads into another file")
                item = group[name]
                if isinstance(item, h5py.Group) and not _is_runs(item):
                    walk(item, prefix + name + ".", depth + 1)
                elif _is_runs(item) or item.dtype.kind in "fiub":
                    found[prefix + name] = item

        walk(self.file["activations"] if "activations" in self.file else {}, "", 0)
        return found

    def _order(self, names):
        group = self.file.get("activations")
        order = [] if group is None else group.attrs.get("order", group.get("order", []))
        listed = [_text(n) for n in order]
        place = {name: i for i, name in enumerate(listed)}
        return sorted(names, key=lambda n: (place.get(n, len(place)), _natural(n)))

    def close(self):
        self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self):
        return f"<capture {self.path}: {self.n_rows} rows, {len(self.points)} points>"

    def __contains__(self, name):
        return name in self._items

    def __getitem__(self, name):
        """The Point of that name."""
        if name not in self._items:
            some = ", ".join(self.points[:20])
            raise KeyError(f"{self.path} has no point {name}; it has: {some}")
        return Point(self, name, self._items[name])

    def rows(self, name, first=0, last=None, sequence=None):
        """Rows of a point as float32 [rows, *shape]: [first, last), or those of one sequence (its
        input index or its id), in order of position."""
        point = self[name]
        if sequence is None:
            return point.read(first, last)
        return point.take(self.point_rows(name, sequence))

    def point_rows(self, name, sequence):
        """Indices into a point's rows of one sequence: int64."""
        wanted, row_map = self.sequence_rows(sequence), self[name].row_map()
        order = np.argsort(row_map, kind="stable")
        at = np.searchsorted(row_map, wanted, sorter=order)
        at = np.minimum(at, max(len(order) - 1, 0))
        if not len(order):
            return np.zeros(0, np.int64)
        return order[at][row_map[order[at]] == wanted]

    def table_of(self, name, pandas=None):
        """The rows table of a point: like rows_table, one entry for every row the point stores."""
        columns, row_map = self.rows_table(pandas=False), self[name].row_map()
        return _frame({key: values[row_map] for key, values in columns.items()}, pandas)

    # ---- sequences ----

    def _sequence_index(self, sequence):
        """Input index from an input index or an id."""
        if not isinstance(sequence, str):
            return int(sequence)
        table = self.sequences_table(pandas=False)
        at = np.flatnonzero(table.get("id", np.zeros(0, object)) == sequence)
        if not len(at):
            raise KeyError(f"{self.path} has no sequence with the id {sequence}")
        return int(table["sequence"][at[0]])

    def _entry(self, sequence):
        """Place in /sequences."""
        index = self._sequence_index(sequence)
        group = self.file.get("sequences")
        if group is None:
            raise CaptureError(f"{self.path} has no /sequences")
        count = group["row_start"].shape[0]
        column = group["sequence"][:] if "sequence" in group else np.arange(count)
        at = np.flatnonzero(column == index)
        if not len(at):
            raise KeyError(f"{self.path} has no sequence {sequence}")
        return int(at[0])

    def sequence_rows(self, sequence):
        """Indices into the rows table of one sequence (its input index or id): int64, rising."""
        index = self._sequence_index(sequence)
        rows = np.flatnonzero(self.file["rows/sequence"][:] == index)
        if not len(rows):
            raise KeyError(f"{self.path} has no rows of sequence {sequence}")
        return rows

    def tokens(self, sequence):
        """Token ids of a sequence, prompt then generated: uint32 [T]."""
        if "sequences" in self.file and "tokens" in self.file["sequences"]:
            return _runs(self.file["sequences/tokens"], self._entry(sequence))
        return self.file["rows/token"][:][self.sequence_rows(sequence)].astype(np.uint32)

    def text(self, sequence):
        """Text of a sequence, prompt then generated, or None where none is stored."""
        if "sequences" not in self.file or "text" not in self.file["sequences"]:
            return None
        data = _runs(self.file["sequences/text"], self._entry(sequence))
        return data.tobytes().decode("utf-8", "replace")

    def piece(self, token):
        """Bytes that a token id stands for, or None where the file does not say."""
        if self._vocab is None:
            self._vocab = {}
            group = self.file.get("vocab")
            if group is not None:
                data, ends = group["data"][:].tobytes(), group["indptr"][:].astype(np.int64)
                for i, number in enumerate(group["id"][:].tolist()):
                    self._vocab[number] = data[ends[i]:ends[i + 1]]
        return self._vocab.get(int(token))

    def pieces(self, sequence):
        """Token texts of a sequence, for labels: list of str (invalid UTF-8 replaced; `<id>` where
        the file holds no piece)."""
        found = ((t, self.piece(t)) for t in self.tokens(sequence).tolist())
        return [f"<{t}>" if p is None else p.decode("utf-8", "replace") for t, p in found]

    # ---- attention ----

    def pattern(self, layer, sequence):
        """Attention probabilities of a layer: float32 [heads, T, T], [head, query, key]. 0 where a
        key is not visible to the query; NaN over all keys of a query whose row is not stored."""
        return self._attention(f"blocks.{layer}.attn.pattern", sequence, 0.0)

    def scores(self, layer, sequence):
        """Attention scores before the softmax: float32 [heads, T, T]. NaN where a key is not
        visible to the query, or the query's row is not stored."""
        return self._attention(f"blocks.{layer}.attn.scores", sequence, np.nan)

    def _attention(self, name, sequence, invisible):
        point, positions = self[name], self.file["rows/position"][:].astype(np.int64)
        row_map, rows = point.row_map(), self.point_rows(name, sequence)
        length = int(positions[self.sequence_rows(sequence)].max()) + 1
        out = None
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
        for row, (values, first) in ((row, found) for run in runs for row, found in
                                     zip(run, point.ragged_rows(int(run[0]), int(run[-1]) + 1))):
            query = positions[row_map[row]]
            if out is None:
                out = np.full((len(values), length, length), np.nan, np.float32)
            if first + values.shape[1] > length:
                raise CaptureError(f"{self.path}: {name}: row {row} has keys past {length - 1}")
            out[:, query, :] = invisible
            out[:, query, first:first + values.shape[1]] = values
        if out is None:
            raise KeyError(f"{self.path}: {name} has no rows of sequence {sequence}")
        return out

    # ---- tables ----

    def rows_table(self, pandas=None):
        """Columns of /rows, one entry a row: sequence (input index), position, token, phase (0
        prompt, 1 generated, 2 continuation), segment, logprob (nats; NaN: none), ... A DataFrame
        when pandas is there (False: always a dict of arrays)."""
        group = self.file["rows"]
        columns = {n: group[n][:] for n in group if isinstance(group[n], h5py.Dataset)}
        return _frame({n: c for n, c in columns.items() if len(c) == self.n_rows}, pandas)

    def sequences_table(self, pandas=None):
        """Columns of /sequences, one entry a sequence: sequence, row_start, row_count, n_prompt,
        status, last_token (-1: none), last_logprob, id, text, and the prompts' metadata under their
        own keys ("meta." before one that is taken; nested values are JSON text). A DataFrame
        when pandas is there (False: always a dict of arrays)."""
        group = self.file.get("sequences")
        if group is None:
            index = np.unique(self.file["rows/sequence"][:])
            return _frame({"sequence": index}, pandas)
        columns = self._columns(group)
        columns.setdefault("sequence", np.arange(group["row_start"].shape[0]))
        meta = group.get("meta", {})
        for name, values in self._columns(meta).items():
            key = _text(meta[name].attrs.get("key", name))
            if name != "_index":
                columns["meta." + key if key in columns else key] = values
        count = len(columns["sequence"])
        return _frame({n: c for n, c in columns.items() if len(c) == count}, pandas)

    @staticmethod
    def _columns(group):
        """Every column below a group; members that are no column are left out."""
        columns = {name: _column(group[name]) for name in group}
        return {name: values for name, values in columns.items() if values is not None}

    @property
    def tables(self):
        """Paths of the probes' tables, "moments/mean"."""
        found = []
        if "probes" in self.file:
            self.file["probes"].visititems(
                lambda name, item: found.append(name)
                if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" else None)
        return sorted(found, key=_natural)

    def table(self, path):
        """A probe's table as it is stored (bf16 as float32)."""
        item = self.file["probes/" + path]
        if item.ndim and _is_bf16(item):
            return _read_values(item, 0, item.shape[0])
        return item[()]

    def probe(self, instance):
        """Attributes of a probe: probe, version, options, points, rows seen."""
        return _attributes(self.file["probes/" + instance])


# ---- program ----------------------------------------------------------------------------------


def _list(capture):
    print(f"{capture.path}: {capture.n_rows} rows, {len(capture.points)} points"
          f"{', minimal' if capture.minimal else ''}{'' if capture.sealed else ', not sealed'}")
    for name in capture.points:
        print(f"  {capture[name]!r}")


def _bench(capture):
    """GB/s of stored values before compression, this reader against plain h5py."""
    import time
    name = max((n for n in capture.points if not capture[n].ragged),
               key=lambda n: capture[n].data.size)
    point = capture[name]
    row_bytes = point.data.id.get_type().get_size() * max(int(np.prod(point.shape)), 1)
    few = min(point.rows, max((64 << 20) // row_bytes // 8, 1))

    def rate(rows, read):
        start = time.perf_counter()
        read(rows)
        return rows * row_bytes / 1e9 / (time.perf_counter() - start)

    ours = max(rate(point.rows, lambda n: point.read(0, n)) for _ in range(3))
    plain = rate(few, lambda n: point.data[:n].astype(np.float32))
    print(f"{name}: {point.rows} rows of {row_bytes} bytes, {point.stored}: "
          f"{ours:.3f} GB/s, plain h5py {plain:.3f} GB/s, {ours / plain:.1f} times")


def main(arguments):
    bench = "--bench" in arguments
    files = [a for a in arguments if a != "--bench"]
    if not files or any(a.startswith("-") for a in files):
        print("usage: sonde.py [--bench] FILE...")
        return 2
    for path in files:
        with open(path) as capture:
            (_bench if bench else _list)(capture)
    return 0


if __name__ == "__main__":
    import sys
    try:
        sys.exit(main(sys.argv[1:]))
    except CaptureError as error:
        sys.exit(str(error))
