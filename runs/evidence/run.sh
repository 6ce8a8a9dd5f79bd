#!/bin/sh
# Trains what the protocol in docs/results.md asks for, in the order of its worth, and writes a report of
# each study to runs/report/STUDY and its scores to runs/evidence/STUDY.csv. Give it again to go on.
# From the top of the repository: [JOBS=2] sh runs/evidence/run.sh [--data_dir=...]; JOBS runs at a time,
# each on its share of the cores: 1.8 times as many an hour on 2 cores.
# What stands in runs/evidence/*.csv counts as made; delete a file to make its runs again.
set -u
failed=0
recorded=$(ls runs/evidence/*.csv 2>/dev/null | paste -sd, -)
for study in tune main length levers images graphs alone_msdnet alone_slimmable kd teacher kd_full chain exits families; do
    python -m ipkd_tf sweep --flagfile=runs/evidence/$study.sweep --jobs="${JOBS:-1}" \
        --recorded="$recorded" -- "$@"
    status=$?
    [ $status -gt 128 ] && exit $status
    [ $status -ne 0 ] && failed=$status
done
exit $failed
