"""What bench_peers.py writes: bench-peers.tsv (three tables), tuning.tsv and bench-peers.svg, bars of texts/s."""
import statistics
from html import escape

import numpy as np

COLUMNS = ("model", "engine", "format", "texts/s", "lowest", "highest", "p50 ms", "MB", "agree %", "error %", "GOP/s", "how")
RATIOS = ("model", "what", "millet", "best peer", "its value", "ratio")
COLOURS = {"millet": "#1b7837", "torch": "#c6543a", "onnxruntime": "#4878a8", "openvino": "#7a6aa8", "ctranslate2": "#b58a2a"}


def quality(engine, reference):
    """Agreement and error in per cent, against PyTorch's fp32 logits; None where there are none."""
    if reference is None:
        return None, None
    spread = np.sqrt(np.mean((reference - reference.mean(axis=0)) ** 2))
    error = np.sqrt(np.mean((engine.logits - reference) ** 2)) / spread
    return 100 * float(np.mean(engine.logits.argmax(1) == reference.argmax(1))), 100 * float(error)


def value(x, digits):
    return "-" if x is None else f"{x:.{digits}f}"


def median(numbers):
    return statistics.median(numbers) if numbers else None


def rows(result):
    reference = next((e.logits for e in result["engines"] if e.name == "torch-fp32"), None)
    for e in result["engines"]:
        e.agree, e.error = quality(e, reference)
        rate = median(e.rates)
        gop = rate * e.flops / 1e9 if hasattr(e, "flops") else None
        yield (result["model"], e.name, e.form, value(rate, 1), value(min(e.rates), 1), value(max(e.rates), 1),
               value(median(e.p50), 2), value(e.memory, 0), value(e.agree, 1), value(e.error, 1), value(gop, 0), e.how)


def compare(result, what, ours, peers, of, less):
    """A row of RATIOS: `of` gives an engine's numbers, one a round; less: smaller is better. Ratio: Millet's to the peer's."""
    peers = [p for p in peers if of(p)]
    if not peers or not of(ours):
        return []
    best = (min if less else max)(peers, key=lambda p: statistics.median(of(p)))
    ratio = statistics.median(a / b for a, b in zip(of(ours), of(best)))
    digits = 1 if statistics.median(of(ours)) > 20 else 2
    return [(result["model"], what, value(statistics.median(of(ours)), digits), best.name,
             value(statistics.median(of(best)), digits), f"{ratio:.2f}")]


def ratios(result):
    out = []
    peers = [e for e in result["engines"] if not e.name.startswith("millet")]
    for ours in (e for e in result["engines"] if e.name.startswith("millet")):
        same = [p for p in peers if p.form == ours.form]
        out += compare(result, f"{ours.form} texts/s", ours, same, lambda e: e.rates, False)
        out += compare(result, f"{ours.form} texts/s, given order", ours, [p for p in peers if p.form == "baseline"],
                       lambda e: e.rates, False)
        out += compare(result, f"{ours.form} p50 ms", ours, same, lambda e: e.p50, True)
        out += compare(result, f"{ours.form} MB", ours, same, lambda e: [e.memory], True)
        if ours.form != "fp32":
            out += compare(result, f"{ours.form} error %", ours, same, lambda e: [e.error] if e.error else [], True)
    command = result.get("command", {})
    for name in sorted(set(command) - {"millet"}, key=command.get):
        if "millet" in command:
            out.append((result["model"], "whole command ms", value(command["millet"], 1), name, value(command[name], 1),
                        f"{command['millet'] / command[name]:.4f}"))
    return out


def write(folder, about, results, left_out):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "bench-peers.tsv", "w", encoding="utf-8") as out:
        for line in about:
            print("#", line, file=out)
        for r in results:
            print(f"# {r['model']}: {r['texts']} texts a pass, {r['tokens']:.1f} tokens on average; ids equal to those of "
                  f"tokenizers in {r['ids_equal']}", file=out)
        for model, engine, reason in left_out:
            print(f"# left out: {model}: {engine}: {reason}", file=out)
        print(*COLUMNS, sep="\t", file=out)
        for r in results:
            for row in rows(r):
                print(*row, sep="\t", file=out)
        print(file=out)
        print(*RATIOS, sep="\t", file=out)
        for r in results:
            for row in ratios(r):
                print(*row, sep="\t", file=out)
    with open(folder / "tuning.tsv", "w", encoding="utf-8") as out:
        print("model", "engine", "variant", "streams", "threads", "batch", "texts/s", sep="\t", file=out)
        for r in results:
            for e in r["engines"]:
                for tried in getattr(e, "tuned", {}).get("tried", []):
                    print(r["model"], e.name, *tried, sep="\t", file=out)
    (folder / "bench-peers.svg").write_text(svg(results), encoding="utf-8")


def svg(results):
    """Bars of texts/s, a group for each model, formats together, the best first."""
    row, left, width, lines, y = 18, 170, 520, [], 10
    for r in results:
        y += 22
        lines.append(f'<text x="8" y="{y}" font-weight="bold">{escape(r["model"])}, texts/s, '
                     f'{r["tokens"]:.0f} tokens on average</text>')
        most = max(median(e.rates) for e in r["engines"])
        for form in ("baseline", "fp32", "bf16", "int8"):
            for e in sorted((e for e in r["engines"] if e.form == form), key=lambda e: -median(e.rates)):
                y += row
                rate = median(e.rates)
                lines.append(f'<text x="{left - 6}" y="{y}" text-anchor="end">{escape(e.name)}</text><rect x="{left}" '
                             f'y="{y - 11}" width="{width * rate / most:.1f}" height="13" fill="{COLOURS[e.name.split("-")[0]]}"/>'
                             f'<text x="{left + width * rate / most + 4:.1f}" y="{y}">{rate:.0f}</text>')
            y += 6
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{y + 12}" font-family="sans-serif" '
            f'font-size="12"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(lines) + "\n</svg>\n")
