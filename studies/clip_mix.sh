#!/bin/sh
# CLIP at several mixes and seeds on drawn scenes: draw, train, measure, report. Every line it runs can be typed by hand;
# what is done already is skipped, so after an interruption the same command goes on.
#
#   studies/clip_mix.sh --root build/demo --samples 60000 --seeds "0" [--mixes "0 0.5 1"]
#                       [--scenes "--preset v1"] [--leaderboards DIR] [--reports DIR]
set -eu

root=build/clip_mix samples=60000 seeds="0" mixes="0 0.5 1" scenes="--preset v1" leaderboards="" reports=""
while [ $# -gt 0 ]; do
  case "$1" in
    --root) root=$2 ;;
    --samples) samples=$2 ;;
    --seeds) seeds=$2 ;;
    --mixes) mixes=$2 ;;
    --scenes) scenes=$2 ;;
    --leaderboards) leaderboards=$2 ;;
    --reports) reports=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
  shift 2
done
leaderboards=${leaderboards:-$root/leaderboards}
reports=${reports:-$root/reports}

step() {
  printf '\n$ %s\n' "$*"
  "$@"
}

# shellcheck disable=SC2086  # $scenes is several words
step recap-eval scenes "$root/scenes" $scenes
for seed in $seeds; do
  for p in $mixes; do
    step recap-train clip --data "$root/scenes" --model scenes-tiny --p-original "$p" --samples-seen "$samples" \
      --seed "$seed" --out "$root/clip-p$p-s$seed" --no-eval
    step recap-eval clip --model "$root/clip-p$p-s$seed" --data "$root/scenes" --out "$leaderboards" --no-report
  done
done
step recap-eval report clip --leaderboards "$leaderboards" --out "$reports"
printf '\nThe report: %s (page: %s)\n' "$reports/clip.md" "$reports/clip.html"
