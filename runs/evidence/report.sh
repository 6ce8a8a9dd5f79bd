#!/bin/sh
# Writes the reports of all studies again, to runs/report/STUDY_EPOCH, from the scores in
# runs/evidence/*.csv. From the top of the repository: sh runs/evidence/report.sh [best | last]
set -eu
epoch=${1:-best}
for scores in runs/evidence/*.csv; do
    study=$(basename "$scores" .csv)
    python -m ipkd_tf report "$scores" --split --epoch="$epoch" --output="runs/report/${study}_$epoch"
done
# Each alone and frozen teachers beside the methods: rows of up to five studies.
python -m ipkd_tf report runs/evidence/main.csv runs/evidence/alone_*.csv runs/evidence/kd*.csv \
    --split --epoch="$epoch" --output="runs/report/baselines_$epoch"
