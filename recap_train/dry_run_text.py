"""A dry run's facts as text for a terminal."""

from __future__ import annotations

from typing import Any

HEIGHT = 6  # lines of the plotted learning rate


def render(facts: dict[str, Any]) -> str:
    """Return what `recap_train.dry_run.collect` found, to be read by a person."""
    blocks = [f"Dry run of {facts['name']}: nothing is written, nothing is trained.", _mix(facts), _data(facts["data"])]
    blocks += [_fixed(facts), *_stages(facts), _total(facts)]
    return "\n\n".join(blocks)


def _mix(facts: dict[str, Any]) -> str:
    p = facts["p_original"]
    meant = "" if p is None else f" (p = {p:g} is the probability of the ORIGINAL caption)"
    return f"Mix: {facts['mix']}{meant}, seed {facts['seed']}"


def _data(data: dict[str, Any] | None) -> str:
    if data is None:
        return "Data: none named; with --data it is looked at, too."
    empty = ", ".join(f"{share:.1%} of the {role}s empty" for role, share in data["empty"].items())
    shards = "" if data["shards"] is None else f"{data['shards']} shards, "
    lines = [
        f"Data: {data['folder']}: {shards}{data['samples']} samples, {empty}",
        "First samples in their order:",
    ]
    for sample in data["first"]:
        for epoch, shown in enumerate(sample["epochs"]):
            name = sample["key"] if epoch == 0 else " " * len(sample["key"])
            lines.append(f"  {name}  epoch {epoch}  {shown['kind']:<9}  {shown['caption'][:84]!r}")
    return "\n".join(lines)


def _fixed(facts: dict[str, Any]) -> str:
    return "Of this trainer, in every recipe:\n" + "\n".join(
        _row(row["name"], row["value"], row["source"]) for row in facts["fixed"]
    )


def _row(name: str, value: object, source: str, mark: str = " ") -> str:
    said = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{mark} {name:<46} {said:<36} {source}"


def _stages(facts: dict[str, Any]) -> list[str]:
    """Return a block a stage; behind the first, only the constants that are others."""
    blocks, before = [], None
    for stage in facts["stages"]:
        rows = [row for row in stage["constants"] if before is None or row not in before["constants"]]
        blocks.append(_stage(stage, rows, before, facts["assumptions"]))
        before = stage
    return blocks


def _stage(stage: dict[str, Any], rows: list[dict[str, Any]], before: dict[str, Any] | None, assumed: dict[str, Any]) -> str:
    title = f"Stage {stage['stage']}" if stage["stage"] else "The run"
    start = "" if before is None else f", from the weights in {before['out']}, optimiser new"
    as_before = "" if before is None else f" as in stage {before['stage']}, but"
    lines = [
        f"{title}, in {stage['out']}{start}",
        f"  constants and where they come from{as_before} (* changed by your options):",
    ]
    lines += [_row(row["name"], row["value"], row["source"], "*" if row["changed"] else " ") for row in rows]
    return "\n".join([*lines, _schedule(stage), _size(stage), _memory(stage, assumed), _time(stage["duration"])])


def _schedule(stage: dict[str, Any]) -> str:
    found = stage["schedule"]
    left = f" ({stage['samples_left_over']:,} left over)" if stage["samples_left_over"] else ""
    lines = [
        f"  {found['steps']:,} steps, {stage['samples_seen']:,} samples{left}; the rate rises for {found['warmup_steps']:,}"
    ]
    lines += [f"  {line}" for line in plot(found["curve"])]
    lines += [f"    step {point['step']:>9,}  {point['lr']:.3e}  {point['what']}" for point in found["key_steps"]]
    return "\n".join(lines)


def plot(values: list[float], height: int = HEIGHT) -> list[str]:
    """Return a plot of positive values in columns of blocks, the highest value before the top line."""
    top = max(values)
    lines = []
    for level in range(height, 0, -1):
        eighths = [min(8, max(0, round(8 * (height * value / top - level + 1)))) for value in values]
        label = f"{top:.2e}" if level == height else ""
        lines.append(f"{label:>9} │{''.join(' ▁▂▃▄▅▆▇█'[part] for part in eighths)}".rstrip())
    return [*lines, f"{'0':>9} └{'─' * len(values)}"]


def _size(stage: dict[str, Any]) -> str:
    sizes, flops = stage["parameters"], stage["flops"]
    image, text = flops["image"] / 1e9, flops["text"] / 1e9
    vision, whole = sizes["vision"] / 1e6, sizes["total"] / 1e6
    return (
        f"  parameters: vision {vision:.2f} M, text {sizes['text'] / 1e6:.2f} M, in all {whole:.2f} M"
        f"\n  forward pass: image {image:.2f} GFLOP, text {text:.2f} GFLOP ({text / (image + text):.0%}); training x 3 = "
        f"{3 * (image + text):.1f} GFLOP a sample"
    )


def _memory(stage: dict[str, Any], assumed: dict[str, Any]) -> str:
    found = stage["memory"]
    parts = ", ".join(
        f"{name} {found[key] / 1e9:.2f}"
        for name, key in (("weights", "weights"), ("gradients", "gradients"), ("AdamW", "adamw"))
    )
    fits = found["largest_micro_batch"]
    if fits >= found["batch_a_gpu"]:
        verdict = "fits without accumulation"
    elif fits:
        verdict = f"needs accumulation, micro-batches of {fits:,} at most"
    else:
        verdict = "does not fit: not even one sample"
    return (
        f"  memory of a GPU (estimate, GB): {parts}, activations {found['activations_a_sample'] / 1e9:.4f} a sample; "
        f"\n    {found['batch_a_gpu']:,} samples at once {found['all_at_once'] / 1e9:.1f} of {assumed['memory_gb']}: {verdict}"
        "\n    (fp32 state whole on each GPU; activations: the tensors autograd saves, with fused attention"
        + (", halved for bf16)" if assumed["precision"] == "bf16" else ")")
    )


def _time(found: dict[str, float]) -> str:
    cost = f", {found['cost']:,.0f} in money" if "cost" in found else ""
    return (
        f"  about {_hours(found['hours'])}, {found['gpu_hours']:,.1f} GPU hours{cost} "
        f"({found['flops']:.2e} FLOP, {found['samples_per_second']:,.0f} samples/s)"
    )


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


def _total(facts: dict[str, Any]) -> str:
    assumed, total = facts["assumptions"], facts["total"]
    price = f", {assumed['price']:g} a GPU hour" if assumed["price"] is not None else ", no price given (--gpu-price)"
    cost = f", {total['cost']:,.0f} in money" if "cost" in total else ""
    return (
        f"In all about {_hours(total['hours'])}, {total['gpu_hours']:,.1f} GPU hours{cost}."
        f"\nASSUMED, not measured: {assumed['gpus']} x {assumed['title']}, peak {assumed['tflops']:,} TFLOP/s in bf16, "
        f"MFU {assumed['mfu']:g}{price}. Change with --gpu, --gpus, --assume-mfu, --gpu-price."
    )
