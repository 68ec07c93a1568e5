#!/usr/bin/env python3
"""Writes the small tokenizer goldens of text/: what Hugging Face `tokenizers` does with made-up files.

    python3 make_text.py FOLDER        needs the package tokenizers 0.23

splits.jsonl.gz   one split rule a line: {"name", "pre" (as in tokenizer.json), "cases": [[text, [bytes of
                  each piece]]]}; rules of many published models and of the syntax as such.
NAME/             tokenizer.json (or tiktoken.model with tokenizer_config.json) and strings.jsonl.gz, records
                  {"text", "ids", "ids_special", "decoded", "decoded_special"} as the shared goldens have them.
"""
import base64
import gzip
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
NO_HAN = r"&&[^\p{Han}]"


def cased(upper, lower, suffix):
    return (rf"[^\r\n\p{{L}}\p{{N}}]?[{upper}]*[{lower}]+{suffix}"
            rf"|[^\r\n\p{{L}}\p{{N}}]?[{upper}]+[{lower}]*{suffix}")


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL
RULES = {
    "gpt2": GPT2,
    "llama3": LLAMA3,
    "qwen": LLAMA3.replace("{1,3}", ""),
    "qwen3.5": CONTRACTION + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + TAIL,
    "gpt4o": cased(UPPER, LOWER, CONTRACTION + "?") + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL,
    "tekken": cased(UPPER, LOWER, "") + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + TAIL,
    "kimi": r"[\p{Han}]+|" + cased(UPPER + NO_HAN, LOWER + NO_HAN, CONTRACTION + "?")
            + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + TAIL,
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
              r"|\s*[\r\n]|\s+(?!\S)|\s",
    "bailing": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    "bloom": r" ?[^(\s|[.,!?…。，、।۔،])]+",
    "superbpe": r"(?=(\d{3})+(?!\d))",
    "tiny-aya": r"\d{1,3}(?=(?:\d{3})*\b)",
    "exaone": CONTRACTION + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
              r"|\s*[\r\n]|\s+(?!\S)|\s+",
    "seed-coder": CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
    "lines": r"[^\n]+|[\n]+",
    "lookbehind": r"(?<!\d)\d{2}|(?<=a)b",
    "anchors": r"^a|b$|\Ac|d\z|\be\b",
    "lazy": r"a+?b|a{2,4}?|[ab]*?c",
    "empty": r"x*",
    "atomic": r"(?>a+|ab)c|(?:ab?){2,3}|(a|b)*c",
    "classes": r"[]a]|[a-c&&b-dx]|[^a-z\s]+|[\x41\u0042\x{43}-]|\h+|\P{L}|\p{^N}|.",
}
DSV3 = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        r"| ?[\p{P}\p{S}]+[\r\n]*" + TAIL]
CASED = ("A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-"
         "\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-"
         "\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf"
         "\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-"
         "\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc"
         "\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115"
         "\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e"
         "\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-"
         "\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
         "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-"
         "\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
HAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
DSV2 = [r"[\r\n]", rf"\s?[{CASED}]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", HAN]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN]
BITS = ["a", "ab", "aab", "b", "c", "abc", "the", "The", "THE", "x", "xx", "d", "e", "E", "word", "don't", "DON'T", "'s", "'\u017f", "'ll",
        "'LL", "'", "1", "12", "123", "1234567", "\u0663", "\u00b2", "\u2167", "\uff11", " ", " ", " ", "  ", "   ", "\n", "\r\n", "\n\n",
        "\t", "\u0085", "\u00a0", "\u3000", "\u180e", "\u200b", ".", ",", "!", "?", "...", "(", "[", "]", "|", "/", "//", "-", "_", "<|", "$",
        "\u20ac", "\u00e9", "e\u0301", "\u00c9", "\u00df", "\u01c5", "\u02b0", "\u0e01\u0e33", "\u0939\u093f\u0928\u094d", "\u4f60\u597d",
        "\u3042\u30a2", "\ud55c\uae00", "\u3007", "\u0627\u0644", "\u060c", "\u2026", "\U0001f600", "\U0001f468\u200d\U0001f469", "\u0301",
        "\U00010400", "\U0001e922", "\u212a", "K", "\u2581", "\u2581\u2581", "\ufb06", "\u24b6", "\u203f", "\u200d", "A1", "a-B", "camelCase", "X"]


def texts(rng, n, bits=BITS):
    out = ["", " ", "a", "hello world", "  two  spaces  ", "I've 12345 apples.\n\n  He'll say: \"no!\"\r\n"]
    while len(out) < n:
        out.append("".join(rng.choices(bits, k=rng.randrange(1, 12))))
    return out


def falcon_split():
    """What stands behind ByteLevel sees its alphabet: the byte BC of a letter is a number there."""
    return pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
                                    pre_tokenizers.Digits(False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])


def split_rules():
    split = pre_tokenizers.Split
    out = {name: split(Regex(rule), "isolated") for name, rule in RULES.items()}
    out["dsv3"] = pre_tokenizers.Sequence([split(Regex(r), "isolated") for r in DSV3])
    out["dsv2"] = pre_tokenizers.Sequence([split(Regex(r), "isolated") for r in DSV2] + [pre_tokenizers.Digits(True)])
    out["deepseek-coder"] = pre_tokenizers.Sequence([split(Regex(r), "isolated") for r in DEEPSEEK_CODER] + [pre_tokenizers.Digits(True)])
    out["falcon"] = falcon_split()
    out["digits gpt2"] = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), split(Regex(GPT2), "isolated")])
    out["punctuation"] = pre_tokenizers.Punctuation()
    for behaviour in ("removed", "merged_with_previous", "merged_with_next", "contiguous", "isolated"):
        out[f"text {behaviour}"] = split("ab", behaviour)
        out[f"regex {behaviour}"] = split(Regex(r"\s|a"), behaviour)
        out[f"inverted {behaviour}"] = split(Regex(r"\s|a"), behaviour, invert=True)
    out["digits"] = pre_tokenizers.Digits(individual_digits=True)
    out["digit runs"] = pre_tokenizers.Digits(individual_digits=False)
    out["whitespace"] = pre_tokenizers.Whitespace()
    out["whitespace split"] = pre_tokenizers.WhitespaceSplit()
    out["delimiter"] = pre_tokenizers.CharDelimiterSplit("x")
    return out


def write_lines(path, rows):
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as f:
        for row in rows:
            f.write((json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode())


def write_splits(folder, rng):
    rows, spec = [], Tokenizer(models.BPE())
    for name, pre in split_rules().items():
        spec.pre_tokenizer = pre
        cases = []
        for text in texts(rng, 70):
            # Removed pieces leave gaps: a piece is told by where it lies in the text.
            spans = [span for _, span in pre.pre_tokenize_str(text)]
            cases.append([text, [[len(text[:a].encode()), len(text[:b].encode())] for a, b in spans]])
        rows.append({"name": name, "pre": json.loads(spec.to_str())["pre_tokenizer"], "cases": cases})
    write_lines(folder + "/splits.jsonl.gz", rows)


# ---- whole tokenizers ---------------------------------------------------------------------------------------------

BYTES = [f"<0x{i:02X}>" for i in range(256)]
LETTERS = list("abcdefghijklmnopqrstuvwxyzTHE0123\n,.") + ["\u2581", "\u00e9", "\u4f60", "\u597d"]
MERGES = [("a", "a"), ("aa", "aa"), ("t", "h"), ("th", "e"), ("\u2581", "a"), ("\u2581", "the"), ("w", "o"), ("r", "d"),
          ("wo", "rd"), ("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581"), ("\n", "\n"), (",", "\u2581"), ("\u4f60", "\u597d"), ("\u2581", "word")]


def spm_model(byte_tokens, fuse):
    vocab = {p: i for i, p in enumerate(["<unk>", "<s>", "</s>"] + byte_tokens + LETTERS)}
    for a, b in MERGES:
        vocab.setdefault(a + b, len(vocab))
    return models.BPE(vocab, MERGES, unk_token="<unk>", byte_fallback=bool(byte_tokens), fuse_unk=fuse)


def chain(strip):
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(parts + ([decoders.Strip(" ", 1, 0)] if strip else []))


def bos(tok, name="<s>"):
    tok.post_processor = processors.TemplateProcessing(single=f"{name} $A", special_tokens=[(name, tok.token_to_id(name))])


def spm(byte_tokens, fuse, legacy):
    tok = Tokenizer(spm_model(byte_tokens, fuse))
    replace = normalizers.Replace(" ", "\u2581")
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), replace]) if legacy else replace
    if not legacy:
        tok.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tok.decoder = chain(legacy)
    tok.add_special_tokens(["<unk>", "<s>", "</s>"])
    tok.add_tokens([AddedToken("\u2581\u2581\u2581", normalized=False), AddedToken("<tag>", normalized=False, rstrip=True)])
    bos(tok)
    return tok


def unigram(byte_tokens):
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)] + [(b, -20.0) for b in byte_tokens]
    pieces += [(c, -6.0 - 0.01 * i) for i, c in enumerate(LETTERS)]
    pieces += [("the", -3.5), ("\u2581the", -3.1), ("th", -4.2), ("he", -4.0), ("word", -5.0), ("wor", -4.9), ("\u2581w", -4.5), ("ord", -4.8),
               ("aa", -5.5), ("aaa", -8.0), ("\u2581a", -4.0), ("\u2581\u2581", -5.0), ("\u4f60\u597d", -7.0), ("ab", -12.0), ("ba", -11.95)]
    tok = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=bool(byte_tokens)))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tok.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()])
    tok.decoder = decoders.Metaspace(prepend_scheme="always") if not byte_tokens else chain(True)
    tok.add_special_tokens(["<unk>", "<s>", "</s>"])
    bos(tok)
    return tok


def byte_level(normalizer, use_regex, more=()):
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("a", "a"), ("t", "h"), ("th", "e"), ("\u0120", "a"), ("\u0120", "the"), ("w", "o"), ("r", "d"), ("\u00c3", "\u00a9"), *more]
    for a, b in merges:
        vocab.setdefault(a + b, len(vocab))
    tok = Tokenizer(models.BPE(vocab, merges))
    tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken("<s>", special=True), AddedToken("BIG", normalized=True, special=True)])
    tok.add_tokens([AddedToken("Caf\u00e9", normalized=True), AddedToken("one", single_word=True, lstrip=True)])
    bos(tok)
    return tok


def falcon():
    tok = byte_level(None, True, [("1", "2"), ("12", "3"), ("3", "4"), ("\u00d0", "\u00bc"), ("\u00c2", "\u00b2"), ("!", "?")])
    tok.pre_tokenizer = falcon_split()
    return tok


def metaspace(scheme, split):
    tok = Tokenizer(spm_model(BYTES, True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    tok.decoder = decoders.Metaspace(prepend_scheme=scheme)
    tok.add_special_tokens(["<unk>", "<s>", "</s>"])
    tok.add_tokens([AddedToken("word", single_word=True, normalized=False)])
    bos(tok)
    return tok


TOKENIZERS = {
    "spm": lambda: spm(BYTES, True, True),
    "spm-no-prefix": lambda: spm(BYTES, True, False),
    "spm-gaps": lambda: spm(BYTES[:128], True, True),
    "spm-unknown": lambda: spm([], False, True),
    "unigram": lambda: unigram([]),
    "unigram-bytes": lambda: unigram(BYTES),
    "bytes-nfkc-lower": lambda: byte_level(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), False),
    "bytes-nfd": lambda: byte_level(normalizers.NFD(), True),
    "bytes-falcon": falcon,
    "metaspace-first": lambda: metaspace("first", True),
    "metaspace-always": lambda: metaspace("always", False),
    "metaspace-never": lambda: metaspace("never", True),
}
WORDS = BITS + ["<s>", "</s>", "<unk>", "<tag>", "<tag> ", "BIG", "big", "Caf\u00e9", "Cafe\u0301", "caf\u00e9", "one", "aaaa", "the word", "<0x41>",
                "\u2581\u2581\u2581", "\ufb01", "\u2460", "\u1e9b\u0323", "\u0130", "\uff21"]


def record(tok, text):
    tok.encode_special_tokens = True
    ids = tok.encode(text, add_special_tokens=False).ids
    tok.encode_special_tokens = False
    special = tok.encode(text).ids
    row = {"text": text, "ids": ids, "ids_special": special}
    decoded = tok.decode(ids, skip_special_tokens=False)
    decoded_special = tok.decode(special, skip_special_tokens=True)
    return row | {"decoded": decoded, "decoded_special": decoded_special}


def random_decodes(tok, rng, n):
    ids = [sorted(tok.get_vocab().values())[i] for i in range(tok.get_vocab_size())]
    out = []
    for _ in range(n):
        some = rng.choices(ids, k=rng.randrange(0, 12))
        text, skipped = (tok.decode(some, skip_special_tokens=s) for s in (False, True))
        out.append({"ids": some, "text": text, "text_skip": skipped})
    return out


def write_tokenizer(folder, name, tok, rng):
    path = f"{folder}/{name}"
    os.makedirs(path, exist_ok=True)
    tok.save(path + "/tokenizer.json")
    tok = Tokenizer.from_file(path + "/tokenizer.json")
    long = "".join(rng.choices(WORDS, k=4000))  # so long that pieces are met again
    write_lines(path + "/strings.jsonl.gz", [record(tok, t) for t in texts(rng, 250, WORDS) + [long]])
    write_lines(path + "/decode.jsonl.gz", random_decodes(tok, rng, 120))


# ---- tiktoken -----------------------------------------------------------------------------------------------------

def tiktoken_ids(ranks, specials, text):
    """By hand: special tokens, Kimi's split, the whole piece, else the pair with the lowest union."""
    out, pre = [], pre_tokenizers.Split(Regex(RULES["kimi"]), "isolated")
    while text:
        hits = [(text.find(s), -len(s), s) for s in specials if s in text]
        at, _, name = min(hits) if hits else (len(text), 0, None)
        for piece, _ in pre.pre_tokenize_str(text[:at]) if at else []:
            parts = [piece.encode()] if piece.encode() in ranks else [bytes([b]) for b in piece.encode()]
            while True:
                unions = [(ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]
                if not unions:
                    break
                i = min(unions)[1]
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            out += [ranks[p] for p in parts]
        if name is not None:
            out.append(specials[name])
        text = text[at + len(name or ""):]
    return out


def write_tiktoken(folder, rng):
    path = folder + "/tiktoken"
    os.makedirs(path, exist_ok=True)
    order = [bytes([b]) for b in sorted(range(256), key=lambda b: (b * 37) % 256)]
    order += [b"th", b" t", b"he", b"the", b" the", b"aa", "\u4f60".encode()[:2], "\u4f60".encode(), "\u4f60\u597d".encode(), b"aaaa", b"wo", b"rd", b"word",
              b" word", b"abc", b"12", b"\n\n"]
    ranks = {piece: i for i, piece in enumerate(order)}
    with open(path + "/tiktoken.model", "w") as f:
        for piece, rank in ranks.items():
            f.write(f"{base64.b64encode(piece).decode()} {rank}\n")
    first = len(ranks)
    named = {first: "[BOS]", first + 1: "[EOS]", first + 2: "<|im_end|>", first + 9: "<|im_user|>"}
    with open(path + "/tokenizer_config.json", "w") as f:
        json.dump({"tokenizer_class": "TikTokenTokenizer", "bos_token": "[BOS]", "eos_token": "[EOS]",
                   "added_tokens_decoder": {str(i): {"content": s, "special": True} for i, s in named.items()}}, f, indent=1)
        f.write("\n")
    specials = {named.get(i, f"<|reserved_token_{i}|>"): i for i in range(first, first + 256)}
    bits = BITS + ["[BOS]", "<|im_end|>", "<|im_user|>", f"<|reserved_token_{first + 20}|>", "the word", "aaaa"]
    rows = [{"text": t, "ids": tiktoken_ids(ranks, {}, t), "ids_special": tiktoken_ids(ranks, specials, t)} for t in texts(rng, 250, bits) + ["".join(rng.choices(bits, k=3000))]]
    for row in rows:  # a special token shows nothing where they are skipped
        row["decoded_special"] = b"".join(order[i] for i in row["ids_special"] if i < first).decode("utf-8", "replace")
    write_lines(path + "/strings.jsonl.gz", rows)


def main():
    folder = sys.argv[1]
    write_splits(folder, random.Random(5))
    for name, make in TOKENIZERS.items():
        write_tokenizer(folder, name, make(), random.Random(name))
    write_tiktoken(folder, random.Random(7))


main()
