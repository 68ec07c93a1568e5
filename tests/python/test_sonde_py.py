"""analysis/python/sonde.py against the C reader and against plain h5py, value by value."""

import os
import subprocess
import sys
import tempfile
import unittest

import h5py
import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.join(ROOT, os.environ.get("SONDE_TOOLS") or "build/release/tests/python")
sys.path.insert(0, os.path.join(ROOT, "analysis", "python"))
import sonde  # noqa: E402


def tool(name, *arguments):
    subprocess.run([os.path.join(TOOLS, name), *map(str, arguments)], check=True)


class Dump:
    """What the C reader says of a file."""

    def __init__(self, path, folder):
        os.mkdir(folder)
        tool("dump_capture", path, folder)
        self.folder = folder
        self.points = [line.split("\t") for line in self.lines("points.txt")]
        self.sequences = [line.split("\t") for line in self.lines("sequences.txt")]
        self.tables = self.lines("tables.txt")

    def lines(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            return file.read().splitlines()

    def array(self, name, dtype):
        return np.fromfile(os.path.join(self.folder, name), dtype)


def same_bits(a, b):
    a, b = np.ascontiguousarray(a).ravel(), np.ascontiguousarray(b).ravel()
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


class WrittenCapture(unittest.TestCase):
    """Files of the C writer, in several layouts."""

    LAYOUTS = [("deflate", 1, 0), ("raw", 1, 0), ("deflate", 40, 256), ("deflate", 150, 0),
               ("raw", 40, 512)]

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.files = []
        for i, (codec, times, chunk) in enumerate(cls.LAYOUTS):
            path = os.path.join(cls.folder.name, f"{i}.h5")
            tool("write_capture", path, codec, times, chunk)
            cls.files.append((path, Dump(path, path + ".dump")))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def each(self):
        for path, dump in self.files:
            with self.subTest(path=path), sonde.open(path) as capture:
                yield capture, dump

    def test_facts(self):
        for capture, dump in self.each():
            self.assertEqual(capture.points, [p[0] for p in dump.points])
            self.assertEqual(capture.points[0], "embed")
            self.assertTrue(capture.sealed and capture.complete and not capture.minimal)
            self.assertEqual(capture.attrs["model"], "tiny")
            self.assertEqual(capture.manifest["options"], {"as": "auto"})
            self.assertEqual(capture["blocks.0.attn.q"].shape, (2, 3))
            self.assertEqual(capture["blocks.0.attn.q"].parts, "[0:2]")
            self.assertEqual(capture["blocks.0.resid_post"].stored, "bf16")
            self.assertIsNone(capture["embed"].parts)

    def test_every_value_of_every_point(self):
        for capture, dump in self.each():
            for i, (name, ragged, rows, _) in enumerate(dump.points):
                point, values = capture[name], dump.array(f"{i}.f32", np.float32)
                self.assertEqual((point.rows, point.ragged), (int(rows), ragged == "1"))
                self.assertTrue(same_bits(point.row_map(), dump.array(f"{i}.map", np.int64)), name)
                if point.ragged:
                    self.check_ragged(point, dump, i, values)
                    continue
                if point.stored == "int32":
                    values = values.astype(np.int32)
                self.assertTrue(same_bits(point.read(), values), name)
                self.assertTrue(same_bits(np.concatenate([b for _, b in point.blocks()]), values))
                self.assertTrue(same_bits(np.concatenate([b for _, b in point.blocks(7)]), values))

    def check_ragged(self, point, dump, i, values):
        indptr, first = dump.array(f"{i}.indptr", np.uint64), dump.array(f"{i}.first", np.uint32)
        rows = list(point.ragged_rows())
        self.assertTrue(same_bits(np.concatenate([r.ravel() for r, _ in rows]), values))
        self.assertEqual([k for _, k in rows], first.tolist())
        self.assertEqual([r.size for r, _ in rows], np.diff(indptr.astype(np.int64)).tolist())
        self.assertEqual(sum(len(b) for _, b in point.blocks(5)), point.rows)

    def test_rows_and_order_of_take(self):
        for capture, _ in self.each():
            for name in ("blocks.1.bits", "blocks.0.attn.q", "embed"):
                point = capture[name]
                whole = point.read()
                for first, last in ((0, 0), (0, 1), (3, 12), (5, point.rows)):
                    self.assertTrue(same_bits(capture.rows(name, first, last), whole[first:last]))
                picks = np.random.default_rng(1).integers(0, point.rows, 40)
                self.assertTrue(same_bits(point.take(picks), whole[picks]))
                self.assertEqual(point.take([]).shape, (0,) + tuple(point.shape))
            with self.assertRaises(IndexError):
                capture.rows("embed", 0, capture.n_rows + 1)
            with self.assertRaises(KeyError):
                capture["blocks.9"]

    def test_raw_bits(self):
        for capture, _ in self.each():
            bits = capture["blocks.1.bits"].bits()
            self.assertEqual(bits.dtype, np.uint16)
            row, e = np.indices(bits.shape)
            plain = (row * 6 + e) * 40503 & 0xFFFF
            odd = np.array([0x7F80, 0xFF80, 0x7FC1, 0xFF81, 0x0001, 0x8000])[e]
            self.assertTrue(np.array_equal(bits, np.where(row % 5 == 0, odd, plain)))

    def test_plain_h5py_agrees(self):
        for capture, _ in self.each():
            for name in ("embed", "blocks.0.resid_post", "blocks.0.attn.q", "blocks.1.experts"):
                data = capture.file["activations/" + name]
                plain = data[:].astype(np.int32 if data.dtype == np.int32 else np.float32)
                self.assertTrue(same_bits(plain, capture.rows(name)), name)

    def test_rows_table(self):
        kinds = {"sequence": np.uint64, "position": np.uint32, "token": np.uint32,
                 "phase": np.uint8, "segment": np.uint8, "logprob": np.float32}
        for capture, dump in self.each():
            table = capture.rows_table(pandas=False)
            for name, kind in kinds.items():
                self.assertTrue(same_bits(table[name], dump.array(f"rows.{name}", kind)), name)
            last = capture.table_of("final", pandas=False)
            self.assertEqual(last["position"][:3].tolist(), [4, 0, 6])

    def test_sequences_table(self):
        for capture, dump in self.each():
            table = capture.sequences_table(pandas=False)
            names = ["sequence", "row_start", "row_count", "n_prompt", "xxh3", "status",
                     "last_token"]
            for i, expected in enumerate(dump.sequences):
                self.assertEqual([str(table[n][i]) for n in names], expected[:7])
                self.assertEqual(table["id"][i], expected[8])
                self.assertEqual(table["level"][i], i)
                self.assertEqual(table["topic"][i], "b" if i % 3 else "a")
                if i < 6:
                    tokens = dump.array(f"{i}.tokens", np.uint32)
                    self.assertTrue(same_bits(capture.tokens(i), tokens))
            self.assertEqual(capture.text(0), "f\u00fcnf Zeichen")
            self.assertEqual(capture.text("given-1"), "")
            self.assertEqual(capture.pieces(1), [f" t{capture.tokens(1)[0]}"])
            self.assertEqual(capture.piece(7), b"\xc3")
            self.assertIsNone(capture.piece(100000))
            with self.assertRaises(KeyError):
                capture.tokens("nobody")

    def test_rows_of_a_sequence(self):
        for capture, _ in self.each():
            whole = capture.rows("embed")
            self.assertTrue(same_bits(capture.rows("embed", sequence=2), whole[6:13]))
            self.assertTrue(same_bits(capture.rows("embed", sequence="given-1"), whole[5:6]))
            self.assertEqual(capture.rows("final", sequence=2).shape, (1,))
            self.assertEqual(capture.rows("final", sequence=2)[0], capture.rows("final")[2])

    def test_attention(self):
        def value(point, row, e):
            return 0.25 * ((row * 7 + e * 3 + point * 5) % 61 - 30)

        for capture, _ in self.each():
            pattern, scores = capture.pattern(0, 2), capture.scores(0, sequence=2)
            self.assertEqual(pattern.shape, (2, 7, 7))
            for h, q, k in np.ndindex(2, 7, 7):
                if k > q:
                    self.assertTrue(np.isnan(scores[h, q, k]))
                    self.assertEqual(pattern[h, q, k], 0)
                else:
                    self.assertEqual(scores[h, q, k], value(2, 6 + q, 64 * h + k))
                    first = max(q - 2, 0)
                    expected = 0 if k < first else value(3, 6 + q, 64 * h + k - first)
                    self.assertEqual(pattern[h, q, k], expected)

    def test_tables(self):
        for capture, dump in self.each():
            self.assertEqual(sorted(capture.tables), sorted(dump.tables))
            for i, name in enumerate(dump.tables):
                values = np.asarray(capture.table(name), np.float64)
                self.assertTrue(same_bits(values, dump.array(f"{i}.f64", np.float64)), name)
            self.assertEqual(capture.probe("moments")["probe"], "moments")

    def test_pandas_when_it_is_there(self):
        try:
            import pandas  # noqa: F401
        except ImportError:
            self.skipTest("pandas is not installed")
        for capture, _ in self.each():
            self.assertEqual(len(capture.rows_table()), capture.n_rows)
            self.assertIn("topic", capture.sequences_table().columns)


class MinimalCapture(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "minimal.h5")
        self.values = np.random.default_rng(0).standard_normal((20, 3, 2)).astype(np.float16)

    def tearDown(self):
        self.folder.cleanup()

    def write(self, **layout):
        with h5py.File(self.path, "w") as file:
            file.attrs["format_version"] = 1
            file["rows/sequence"] = np.repeat([0, 1], 10)
            file["rows/position"] = np.tile(np.arange(10, dtype=">i2"), 2)
            file["rows/token"] = np.arange(20, dtype=np.uint8)
            file.create_dataset("activations/blocks.10.x", data=self.values, **layout)
            file.create_dataset("activations/blocks/2/x", data=self.values.astype(">f8"), **layout)

    def test_against_the_c_reader(self):
        for i, layout in enumerate([{}, {"chunks": (4, 3, 2), "compression": "gzip"},
                                    {"chunks": (7, 2, 2), "compression": "gzip", "shuffle": True,
                                     "fletcher32": True}]):
            self.write(**layout)
            dump = Dump(self.path, os.path.join(self.folder.name, f"dump{i}"))
            with sonde.open(self.path) as capture:
                self.assertTrue(capture.minimal and capture.sealed)
                self.assertEqual(capture.points, ["blocks.2.x", "blocks.10.x"])
                self.assertEqual(capture.points, [p[0] for p in dump.points])
                for i, name in enumerate(capture.points):
                    values = dump.array(f"{i}.f32", np.float32)
                    self.assertTrue(same_bits(capture.rows(name), values))
                self.assertTrue(np.array_equal(capture.rows("blocks.10.x", sequence=1),
                                               self.values[10:].astype(np.float32)))
                self.assertEqual(len(capture.sequences_table(pandas=False)["sequence"]), 2)
                self.assertEqual(capture.tokens(1).tolist(), list(range(10, 20)))

    def test_whole_numbers_stay_whole(self):
        self.write()
        ids = np.arange(40, dtype=np.int32).reshape(20, 2) + (1 << 24)  # float32 would lose these
        with h5py.File(self.path, "r+") as file:
            file["activations/blocks.0.moe.expert_ids"] = ids
        with sonde.open(self.path) as capture:
            self.assertTrue(same_bits(capture.rows("blocks.0.moe.expert_ids"), ids))
            some = capture["blocks.0.moe.expert_ids"].take([3, 17])
            self.assertTrue(same_bits(some, ids[[3, 17]]))

    def test_refusals(self):
        cases = [(lambda f: f.attrs.__delitem__("format_version"), "format_version"),
                 (lambda f: f.attrs.__setitem__("format_version", 2), "format_version is 2"),
                 (lambda f: f.attrs.__setitem__("format", "zarr"), "zarr"),
                 (lambda f: f.__delitem__("rows/token"), "/rows/token")]
        for change, part in cases:
            self.write()
            with h5py.File(self.path, "r+") as file:
                change(file)
            with self.assertRaises(sonde.CaptureError) as caught:
                sonde.open(self.path)
            self.assertIn(part, str(caught.exception))
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("nothing")
        with self.assertRaises(sonde.CaptureError):
            sonde.open(self.path)


def main():
    """Ends with the line that tests/run.py counts."""
    result = unittest.TextTestRunner(sys.stdout, verbosity=1).run(
        unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__]))
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    for test, reason in result.skipped:
        print(f"skipped {test.id()}: {reason}")
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
