"""Writes what was measured into docs/peers.md, between its two marks."""

import os
import platform
import re
from pathlib import Path

BEGIN = "<!-- measured: written by bench/peers/run -->"
END = "<!-- end of what is measured -->"
SECTIONS = {
    "KEY": "keys",
    "EXE": "execution",
    "CON": "simultaneous requests",
    "FPR": "fingerprints",
    "REP": "replays",
    "SCO": "callers",
    "SEC": "hostile keys",
}
DETAIL_LETTERS_MAX = 230


def machine():
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []:
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} x {model}, {platform.system()} {platform.release().split('-')[0]}"


def counts(cases):
    of = [sum(case["verdict"] == verdict for case in cases) for verdict in ("pass", "fail", "skip")]
    return " / ".join(map(str, of)) if cases else "-"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(results):
    lines = [row(["Section"] + [head(result) for result in results])]
    lines.append(row(["---"] * (len(results) + 1)))
    every = [result["cases"] for result in results]
    for section in dict.fromkeys(case["section"] for case in every[0]):
        of = [[case for case in cases if case["section"] == section] for cases in every]
        name = SECTIONS.get(section, "")
        lines.append(row([f"{section} {name}".strip()] + [counts(cases) for cases in of]))
    for kind in ("core", "profile", "optional"):
        of = [[case for case in cases if case["kind"] == kind] for cases in every]
        lines.append(row([f"*all {kind}*"] + [counts(cases) for cases in of]))
    lines.append(row(["**all**"] + [f"**{counts(cases)}**" for cases in every]))
    return lines


def head(result):
    store = "" if result["store"] == "none" else f" ({result['store']})"
    return result["title"] + store


def failures(result):
    lines = [f"### {head(result)}", "", "Versions: " + ", ".join(result["versions"]) + ".", ""]
    cases = result["cases"]
    skipped = [case for case in cases if case["verdict"] == "skip"]
    unmet = [case for case in skipped if case["detail"].startswith("its precondition")]
    for case in cases:
        if case["verdict"] != "pass" and case not in unmet:
            facts = [case["kind"], "" if case["verdict"] == "fail" else "skipped", case["times"]]
            facts = ", ".join(fact for fact in facts if fact)
            said = f"{case['title']}: {plain(case['detail'])}"
            lines.append(f"- {case['id']} ({facts}), {said}")
    if unmet:
        ids = ", ".join(case["id"] for case in unmet)
        lines.append(f"- Skipped because what they build on failed: {ids}")
    if lines[-1] == "":
        lines.append("Nothing failed and nothing was skipped.")
    return lines + [""]


def plain(detail):
    """One line of ASCII that Markdown shows as it is, the same after every run."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", detail)
    line = re.sub(r"\\+([\"'])", r"\1", line)
    line = re.sub(r"(\\n|\s)+", " ", line).encode("ascii", "backslashreplace").decode()
    if len(line) > DETAIL_LETTERS_MAX:
        line = line[:DETAIL_LETTERS_MAX] + "..."
    return re.sub(r"([*_<>|`\\])", r"\\\1", line)


def write(path, results, date):
    text = path.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    lines = ["", f"Measured on {date}; {machine()}.", "", *table(results), ""]
    for result in results:
        lines += failures(result)
    path.write_text(before + BEGIN + "\n".join(lines) + END + after)
