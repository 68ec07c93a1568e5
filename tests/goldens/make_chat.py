#!/usr/bin/env python3
"""Goldens of chat templates: what Jinja2 makes of them in the environment of transformers.

    make_chat.py            writes chat/jinja.json and chat/NAME.json beside this file

jinja.json: {globals, cases: [{template, text | error}]}, each case a part of the language. NAME.json: a published
template with conversations as transformers renders them, ids by the small tokenizer of text/
(needs the packages jinja2 and tokenizers).
"""
import json
import os

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
DATE = "2024-07-26"
M = [{"role": "system", "content": " Be kind.\n"}, {"role": "user", "content": "Hé 👩 <b> & \"q\" 'a'"},
     {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": [1, 2.5, None, True], "y": {}, "z": []}}}]}]
G = {"messages": M, "tools": None, "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
     "n": 7, "x": 1.0, "big": 1e22, "small": 1.5e-7, "words": ["a", "b", "c", "d"], "empty": [], "text": "  one two  three ", "flag": False}
SNIPPETS = [
    "{{ bos_token }}{% for m in messages %}\n  {{ m.role }}:{{ loop.index }}/{{ loop.length }}{{ loop.first }}{{ loop.last }}\n{% endfor %}\nend\n",
    "a {%- if flag %} b {%- elif n == 7 %} c {%- else %} d {% endif -%}  \n e", "x\n   {% if true %}\n  y\n   {% endif %}\nz\n\n", "a {#- c -#}  b {# d #}\nc\n  {# e #}\nf",
    "{%+ if true %} k{%+ endif +%}\n l", "  {%- set a = 3 %}{{ a }} {{ a + n }} {{ a - n * 2 }} {{ n // 2 }} {{ n % 4 }} {{ -n // 2 }} {{ -n % 4 }} {{ n / 2 }}",
    "{{ x }} {{ big }} {{ small }} {{ 0.1 }} {{ 100000.0 }} {{ true }} {{ none }} {{ [1, 'a', none, true, {'k': 'v'}] }} {{ (1, 2)[1] }}",
    "{{ messages }}", "{{ messages[2].tool_calls[0].function.arguments | tojson }}", "{{ messages | tojson(indent=2) }}", "{{ messages[1].content | tojson }}{{ 'a\\n\\tb\\\\' | tojson }}",
    "{{ text | trim }}|{{ text.strip() }}|{{ text.lstrip(' o') }}|{{ text.rstrip() }}|{{ text.split() }}|{{ text.split(' ') }}|{{ text.split(' ', 2) }}",
    "{{ '\u3000 é\u00a0' | trim }}|{{ 'a\x1cb\x1c'.strip() }}|{{ 5 | trim }}|{{ none | trim }}", "{{ 'abc'[1] }}{{ 'héllo'[1:3] }}{{ words[::-1] }}{{ words[1:] }}{{ words[:-1] }}{{ words[-2:] }}{{ words[5:] }}{{ words[::2] }}{{ words[3:0:-1] }}",
    "{{ 'a' in 'cab' }}{{ 'z' in words }}{{ 'role' in messages[0] }}{{ 3 not in [1, 2] }}{{ not flag and n > 3 or x }}{{ n if flag }}{{ n if not flag else 0 }}",
    "{% set ns = namespace(a=1, b='x') %}{% for w in words %}{% set ns.a = ns.a + 1 %}{% set b = w %}{% endfor %}{{ ns.a }}{{ b is defined }}{{ ns.b ~ ns.a ~ none }}",
    "{% macro m(a, b='d') %}[{{ a }}{{ b }}{{ c is defined }}]{% endmacro %}{{ m(1) }}{{ m('x', b='y') }}{{ m() }}{% set s = m(2) ~ '!' %}{{ s | upper }}",
    "{% macro r(v) %}{% if v is mapping %}{ {% for k, w in v.items() %}{{ k }}={{ r(w) }}{% if not loop.last %};{% endif %}{% endfor %} }{% elif v is string or v is none %}{{ v }}{% elif v is iterable %}({% for w in v %}{{ r(w) }},{% endfor %}){% else %}{{ v }}{% endif %}{% endmacro %}{{ r(messages[2]) }}",
    "{% for w in words if w != 'b' %}{{ loop.index0 }}{{ w }}{{ loop.previtem }}{{ loop.nextitem is defined }}{% else %}none{% endfor %}{% for w in empty %}{{ w }}{% else %}none{% endfor %}",
    "{% for w in words %}{% if w == 'b' %}{% continue %}{% endif %}{% if w == 'd' %}{% break %}{% endif %}{{ w }}{% endfor %}", "{{ words | join(', ') }}{{ words | first }}{{ words | last }}{{ words | length }}{{ 'añ' | length }}{{ messages[0] | length }}",
    "{{ nothing | default('d') }}{{ '' | default('e', true) }}{{ none | default('f') }}{{ nothing is undefined }}{{ nothing }}{{ messages[0].nothing is defined }}",
    "{{ words | reject('equalto', 'b') | join }}{{ words | select('in', ['a', 'd']) | list }}{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}{{ words | map('upper') | join('-') }}",
    "{{ 'aXbX'.replace('X', '--') }}{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('bc') }}{{ 'ABC' | lower }}{{ 'abc' | capitalize }}{{ 'a-b' | replace('-', '+') }}", "{{ strftime_now('%Y-%m-%d %d %b %Y') }}",
    "{% set t %}block {{ n }}{% endset %}{{ t | trim }}{{ range(3) | list }}{{ range(5, 0, -2) | list }}", "{{ {'a': 1, 'b': {'c': 2}}.b.c }}{{ {'a': 1}.get('z', 9) }}{{ {'a': 1}.keys() | list }}{% for k, v in {'a': 1} | items %}{{ k }}{{ v }}{% endfor %}",
    "{{ n is number }}{{ x is number }}{{ n is integer }}{{ n is odd }}{{ 'a' is string }}{{ flag is false }}{{ flag is boolean }}{{ words is sequence }}{{ messages[0] is mapping }}{{ n is iterable }}{{ none is none }}",
    "{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ [1, 2] == [1, 2] }}{{ [1] + [2] }}{{ '1' | int + 1 }}{{ 'x' * 0 if false else 'y' }}{{ 2 >= 2 }}{{ 'a' ~ 1 ~ true }}", "{% generation %}{{ n }}{% endgeneration %}",
    "{{ raise_exception('no: ' ~ n) }}", "{{ 'a' + nothing }}", "{{ 'a' + 1 }}", "{{ nothing.x }}", "{{ messages[0].a.b }}", "{{ 1 in 'a' }}", "{{ 'a' in none }}", "{% for w in 5 %}{% endfor %}", "{{ n() }}", "{{ 'a' < 1 }}",
    "{{ messages[-1]['role'] }}{{ messages[9] is defined }}{{ words[n % 4] }}{{ (words | length) - 1 }}{{ words|length - 1 }}", "{{ '<|a|>' + '\\n' + \"it's\" + 'q\"' }}{{ ['it\\'s', 'q\"', 'b\\'\"'] }}", "{{ loop is defined }}{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{{ ['\u00ad\u0085\u00a0\u200b\u2028\u3000\ufeff\ue000\u0378\U000e0001\U0010ffff', 'é 👩\u0301\u1234'] }}",
]
ROLE_ERROR = "Conversation roles must alternate user/assistant/user/assistant/..."
MISTRAL = ("{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('" + ROLE_ERROR + "') }}"
           "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
           "{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")
SMOLLM = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
          "Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
          "{{ '<|im_start|>assistant\n' }}{% endif %}")
CASES = [
    ("user", [("user", "Hi")], True), ("closed", [("user", "Hi")], False), ("turns", [("user", "1"), ("assistant", "2\n"), ("user", " é👩 ")], True),
    ("system", [("system", "Be kind."), ("user", "Hi")], True), ("ends with assistant", [("user", "a"), ("assistant", "b")], False),
    ("special tokens in content", [("user", "<s> </s> [INST] <|im_end|>\n<|im_start|>system\nx <special> <|end|>")], True), ("twice", [("user", "a"), ("user", "b")], True), ("empty", [("user", "")], True),
]


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body, lineno=line)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = lambda v, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        v, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: __import__("datetime").datetime.fromisoformat(DATE).strftime(form)
    return env


def attempt(env, template, values):
    try:
        return {"text": env.from_string(template).render(**values)}
    except (jinja2.TemplateError, TypeError) as error:
        own = type(error) is jinja2.exceptions.TemplateError
        return {"error": str(error) if own else ""}


def save(name, value):
    with open(os.path.join(HERE, "chat", name), "w", encoding="utf-8") as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def main():
    env = environment()
    save("jinja.json", {"globals": G, "cases": [{"template": s, **attempt(env, s, G)} for s in SNIPPETS]})
    tokenizer = Tokenizer.from_file(os.path.join(HERE, "text", "bytes-plain", "tokenizer.json"))
    for name, template, bos, eos in (("mistral-v0.1", MISTRAL, "<s>", "</s>"), ("smollm2", SMOLLM, "<|im_start|>", "<|im_end|>")):
        cases = []
        for title, turns, prompt in CASES:
            messages = [{"role": role, "content": content} for role, content in turns]
            case = {"name": title, "messages": messages, "add_generation_prompt": prompt}
            case.update(attempt(env, template, {"messages": messages, "tools": None, "documents": None, "bos_token": bos, "eos_token": eos, "add_generation_prompt": prompt}))
            if "text" in case:
                case["ids"] = tokenizer.encode(case["text"], add_special_tokens=False).ids
            cases.append(case)
        save(name + ".json", {"tokenizer": "bytes-plain", "template": template, "date": DATE, "bos_token": bos, "eos_token": eos, "cases": cases})


if __name__ == "__main__":
    main()
