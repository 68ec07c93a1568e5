"""The training text: English documentation that Debian ships, as plain paragraphs.

Packages (apt-get install debian-handbook debian-reference-en developers-reference debian-policy):
their licences are named in README.md. Text is cut out of the HTML; code listings are left out.
"""
import glob
import html
import re

SOURCES = [
    ("debian-handbook", "/usr/share/doc/debian-handbook/html/en-US/*.html"),
    ("debian-reference-en", "/usr/share/debian-reference/*.en.html"),
    ("developers-reference", "/usr/share/developers-reference/*.html"),
    ("debian-policy", "/usr/share/doc/debian-policy/policy.html/*.html"),
]
DROP = re.compile(r"<(script|style|pre|head|nav)\b.*?</\1>", re.S | re.I)
BLOCK = re.compile(r"</?(p|div|li|ul|ol|dl|dt|dd|h[1-6]|table|tr|td|th|br|section|blockquote)\b[^>]*>",
                   re.I)
TAG = re.compile(r"<[^>]+>")


def paragraphs(page):
    text = BLOCK.sub("\n\n", DROP.sub(" ", page))
    text = html.unescape(TAG.sub("", text)).replace("\u00a0", " ")
    for part in re.split(r"\n\s*\n", text):
        part = re.sub(r"\s+", " ", part).strip()
        letters = sum(c.isalpha() or c == " " for c in part)
        if len(part) >= 60 and letters / len(part) > 0.85 and part[-1] in ".!?:\"”":
            yield part


def documents():
    """One text per page, paragraphs joined by newlines; repeated paragraphs once."""
    seen = set()
    for _, pattern in SOURCES:
        for path in sorted(glob.glob(pattern)):
            with open(path, encoding="utf-8", errors="ignore") as page:
                kept = [p for p in paragraphs(page.read()) if not (p in seen or seen.add(p))]
            if kept:
                yield "\n".join(kept) + "\n"
