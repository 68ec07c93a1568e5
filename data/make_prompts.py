#!/usr/bin/env python3
"""Writes prompts.jsonl and prompts.txt of this folder: python3 make_prompts.py

Texts are sentences in the manner of the corpus, written for this file. Repeated passages are some of
them, written twice with a newline after each. Repeated tokens are runs of random ids, each run twice:
nothing but looking back tells what comes next there.
"""
import json
import os
import random

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB, SEED = 3072, 20

TEXTS = [
    ("packages", "A package contains the files of a program, together with the scripts that are run "
                 "when it is installed or removed."),
    ("packages", "If you want to install a package from another distribution, check its dependencies "
                 "first."),
    ("packages", "The maintainer of a package is responsible for its bugs and should answer reports "
                 "within a reasonable time."),
    ("packages", "When a configuration file has been changed by the administrator, the upgrade must not "
                 "overwrite it."),
    ("network", "The firewall only lets through the packets that match one of its rules."),
    ("network", "To connect two local networks over the Internet, you can set up an encrypted tunnel "
                "between the gateways."),
    ("network", "A name server answers queries about the addresses of the machines in its zone."),
    ("network", "The server listens on port 80 by default, but this can be changed in the configuration."),
    ("system", "The kernel is loaded into memory by the boot loader, which then gives it control."),
    ("system", "Each user has a home directory, and each file belongs to a user and a group."),
    ("system", "The system log is the first place to look when a service does not start."),
    ("system", "Before you change the partition table, make a backup of all the data on the disk."),
    ("community", "New developers are expected to read the policy manual before they upload a package."),
    ("community", "Please report a bug only after you have checked that nobody else has reported it."),
    ("community", "The release is ready when there are no more serious bugs in the packages."),
    ("community", "Questions about the distribution can be asked on the mailing list or on the forum."),
]
PASSAGES = [0, 3, 5, 8, 9, 11, 13, 14]
PERIODS = [20, 25, 30, 35, 40, 45, 50, 60]


def prompts():
    for n, (topic, text) in enumerate(TEXTS):
        yield {"id": f"text-{n + 1:02}", "text": text, "kind": "text", "topic": topic}
    for n, at in enumerate(PASSAGES):
        topic, text = TEXTS[at]
        yield {"id": f"passage-{n + 1:02}", "text": 2 * (text + "\n"), "kind": "repeated passage",
               "topic": topic}
    generator = random.Random(SEED)
    for n, period in enumerate(PERIODS):
        run = [generator.randrange(1, VOCAB) for _ in range(period)]
        yield {"id": f"tokens-{n + 1:02}", "tokens": 2 * run, "kind": "repeated tokens",
               "period": period}


def main():
    with open(os.path.join(HERE, "prompts.jsonl"), "w", encoding="utf-8") as out:
        for prompt in prompts():
            out.write(json.dumps(prompt) + "\n")
    with open(os.path.join(HERE, "prompts.txt"), "w", encoding="utf-8") as out:
        for _, text in TEXTS:
            out.write(text + "\n")


main()
