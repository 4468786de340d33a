"""What the commands about diffusion transformers do."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from recap_eval.artifact import Artifact, named
from recap_eval.errors import UserError
from recap_eval.files import read_json
from recap_eval.memory import keep_freed_memory
from recap_eval.signals import Stopped
from recap_train.diffusion import precompute, run, vae
from recap_train.diffusion.evals import SuiteEvals, suite_words
from recap_train.diffusion.features import MANIFEST, is_features
from recap_train.diffusion.recipe import AUTOENCODERS, TRANSFORMERS, ImageRecipe, load_image_recipe, with_objective
from recap_train.parallel import alone_environment, choose_device, is_main
from recap_train.requests import captions_of, engine_of, loading_of, mix_of, need, precision_of, roles_of, scenes_of
from recap_train.run import Run
from recap_train.stages import changed_constants

CHANGED = ("batch_size", "lr", "caption_dropout")  # options that stand for constants of the recipe


def train_dit(args: argparse.Namespace) -> int:
    """Train a diffusion transformer, and measure it; or tell what that would be."""
    recipe = _recipe(args)
    if args.dry_run:
        from recap_train.diffusion.dry_run import told

        return told(args, recipe)
    need(args, "data", "out", "autoencoder", "text_encoder", "samples_seen")
    for sentence in changed_constants(recipe) if is_main() else ():
        print(f"{recipe.name}: {sentence}", file=sys.stderr)
    what = _run(args, recipe, float(recipe.train["caption_dropout"]), recipe.train["ema"])
    parts = run.Parts(args.autoencoder, args.text_encoder)
    suite = _suite(args)
    measured = None
    if args.eval_every:
        measured = SuiteEvals(args.eval_every, suite, args.eval_limit, args.keep_evals, args.leaderboards)
    code, artifact = _trained(args, lambda: run.train(what, parts, measured.hooks if measured else None))
    if artifact is None or args.no_eval or not is_main():
        return code
    return _evaluate(args, suite)


def train_vae(args: argparse.Namespace) -> int:
    """Train a small auto-encoder."""
    need(args, "data", "out")
    recipe = load_image_recipe(args.recipe, AUTOENCODERS)
    what = replace(_run(args, recipe, 0.0, None), name=args.name or f"{recipe.name}-s{args.seed}")
    return _trained(args, lambda: vae.train(what))[0]


def encode_data(args: argparse.Namespace) -> int:
    """Encode a data set once."""
    need(args, "data", "out", "autoencoder", "text_encoder")
    recipe, roles = load_image_recipe(args.recipe, TRANSFORMERS), roles_of(args)
    encoders = run.open_encoders(recipe, run.Parts(args.autoencoder, args.text_encoder), choose_device(args.device))
    keep_freed_memory()
    what = Run(
        args.data, recipe, mix_of(args, roles, 0.0), recipe.train["batch_size"], args.seed, args.out, "", roles, "fp32",
        args.skip_bad, loading=loading_of(args), captions=captions_of(args),
    )  # fmt: skip
    manifest, known = precompute.precompute(precompute.Encoding(what, encoders, args.encode_batch))
    size = sum(facts["bytes"] for facts in manifest["files"].values())
    if args.json:
        print(json.dumps({"encoded": str(args.out), "made_before": known, "n": manifest["n"], "bytes": size}))
        return 0
    how = "encoded already" if known else f"in {manifest['seconds']} s"
    print(f"{args.out}: {manifest['n']:,} samples, {size / 1e6:,.1f} MB, {how}.")
    print(f"Train from it: recap-train dit --data {args.out} --autoencoder … --text-encoder … (the same)")
    return 0


def _recipe(args: argparse.Namespace) -> ImageRecipe:
    """Return the recipe with what the user changes in it; its sources say so. The learning rate follows no other constant."""
    recipe = with_objective(load_image_recipe(args.recipe, TRANSFORMERS), args.objective)
    asked = {name: getattr(args, name) for name in CHANGED}
    new = {name: value for name, value in asked.items() if value is not None and value != recipe.train[name]}
    sources = {f"train.{name}": f"changed; the recipe has {recipe.train[name]:g}" for name in new}
    return replace(recipe, train=recipe.train | new, sources=recipe.sources | sources)


def _run(args: argparse.Namespace, recipe: ImageRecipe, dropout: float, ema: float | None) -> Run:
    roles = roles_of(args)
    mix, device = mix_of(args, roles, dropout), choose_device(args.device)
    engine = engine_of(args, ema if args.ema is None else args.ema)
    name = args.name or named(f"{recipe.name}-{mix.label}-s{args.seed}", args.fact)
    return Run(
        args.data, recipe, mix, args.samples_seen, args.seed, args.out, name,
        roles, precision_of(args.precision, device), args.skip_bad, engine, loading_of(args), captions_of(args),
        facts=dict(args.fact),
    )  # fmt: skip


def _trained(args: argparse.Namespace, train: Any) -> tuple[int, Artifact | None]:
    """Train, and say what came of it; returns the exit code, and the artifact if there is one."""
    keep_freed_memory()
    try:
        artifact, known = train()
    except Stopped as stop:
        if is_main():
            print(f"{args.out}: {stop}; the same command goes on from there.", file=sys.stderr)
        return stop.exit_code, None
    if is_main():
        _tell(args, artifact, known)
    return 0, artifact


def _tell(args: argparse.Namespace, artifact: Artifact, known: bool) -> None:
    made, ran = artifact.made, artifact.run
    if args.json:
        print(json.dumps({"artifact": str(args.out), "name": artifact.name, "trained_before": known, "made": made, "run": ran}))
        return
    if known:
        print(f"{args.out}: {artifact.name} is trained already; nothing to do.")
        return
    facts = made.get("measured")
    more = f", PSNR {facts['psnr']} dB" if facts else f", {made['realised_original']:.1%} shown with their original caption"
    print(
        f"{args.out}: {artifact.name}, {made['samples_seen']:,} samples in {ran['seconds']} s ({ran['samples_per_second']}/s, "
        f"{ran['data_wait_share']:.1%} of it waiting for data){more}."
    )


def _suite(args: argparse.Namespace) -> list[str]:
    """Return the words of the measurement, without model and images.

    Raises:
        UserError: The suite needs a model that scores, and none is named.
    """
    scenes = args.eval_data or scenes_of(args.data)
    of_scenes = scenes is not None or args.scorer or _encoded_scenes(args.data)
    suite = args.eval_suite or ("scenes" if of_scenes else "paper")
    if suite == "scenes" and args.scorer is None and not (args.no_eval and args.eval_every is None):
        raise UserError(
            "The suite scenes measures with a CLIP that knows scenes, and none is named.",
            "Name one: --scorer runs/clip; or --no-eval",
        )
    return suite_words(suite, args.scorer, scenes)


def _encoded_scenes(data: Path | str) -> bool:
    """Tell whether a precomputed set was made of scenes."""
    return isinstance(data, Path) and is_features(data) and bool(read_json(data / MANIFEST)["scenes"])


def _evaluate(args: argparse.Namespace, suite: list[str]) -> int:
    """Measure the artifact by the command a person would type, so that a failure there cannot cost the training."""
    images = args.images or Path(f"{args.out}-images")
    words = ["t2i", "--model", str(args.out), *suite, "--images", str(images), "--out", str(args.leaderboards)]
    words += ["--json"] if args.json else []
    code = subprocess.run([sys.executable, "-m", "recap_eval.cli", *words], check=False, env=alone_environment()).returncode
    if code:
        print(
            f"The model is whole in {args.out}; only its measurement failed. Again: recap-eval {' '.join(words)}",
            file=sys.stderr,
        )
    return code
