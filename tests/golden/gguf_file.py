"""Reading a Hugging Face folder and writing a GGUF file, with numpy alone: what hf_to_gguf.py needs."""
import glob
import json
import os
import struct

import numpy as np

ALIGNMENT = 32
KINDS = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f"), np.float64: (12, "<d")}
BLOCK_KINDS = {"MXFP4": (39, 32, 17)}  # ggml type, elements and bytes of a block


def read_safetensors(path):
    """name -> array; bf16 becomes f32 (exactly), fp8 and block formats stay as bytes."""
    with open(path, "rb") as f:
        head = struct.unpack("<Q", f.read(8))[0]
        entries = json.loads(f.read(head))
        data = f.read()
    entries.pop("__metadata__", None)
    plain = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1", "BOOL": "?", "I64": "<i8"}
    tensors = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], plain[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = array
    return tensors


def read_folder(folder):
    """The config (the text model's keys laid over a wrapper's) and all tensors."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config.update(config.pop("text_config", None) or {})
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        tensors.update(read_safetensors(path))
    return config, tensors


def _text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value):
    """Kind and bytes of one metadata value."""
    if isinstance(value, str):
        return 8, _text(value)
    if isinstance(value, (list, tuple)):
        kinds = [_value(v) for v in value]
        return 9, struct.pack("<IQ", kinds[0][0], len(kinds)) + b"".join(raw for _, raw in kinds)
    kind, form = KINDS[type(value)]
    return kind, struct.pack(form, value)


class Blocks:
    """A tensor of a block format: its shape in elements and the blocks' bytes."""

    def __init__(self, kind, shape, data):
        self.kind, self.shape, self.data = kind, shape, data

    def every_second_row(self, first):
        """Rows first, first + 2, ... of each matrix of a stack."""
        shape = (self.shape[0], self.shape[1] // 2, self.shape[2])
        return Blocks(self.kind, shape, self.data[:, first::2])


def _tensor(tensor):
    """ggml type, shape and bytes; floats of any width are written as f32, f16 as f16."""
    if isinstance(tensor, Blocks):
        return BLOCK_KINDS[tensor.kind][0], tensor.shape, tensor.data.tobytes()
    if tensor.dtype == np.float16:
        return 1, tensor.shape, np.ascontiguousarray(tensor).tobytes()
    return 0, tensor.shape, np.ascontiguousarray(tensor, "<f4").tobytes()


def write_gguf(path, metadata, tensors):
    """`metadata`: key -> str, int, float, bool or a list of one of them; `tensors`: name -> array."""
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    for key, value in metadata.items():
        kind, raw = _value(value)
        head += [_text(key), struct.pack("<I", kind), raw]
    offset, datas = 0, []
    for name, tensor in tensors.items():
        kind, shape, data = _tensor(tensor)
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += [_text(name), dims, struct.pack("<IQ", kind, offset)]
        datas.append(data + b"\0" * (-len(data) % ALIGNMENT))
        offset += len(datas[-1])
    raw = b"".join(head)
    with open(path, "wb") as out:
        out.write(raw + b"\0" * (-len(raw) % ALIGNMENT) + b"".join(datas))
