"""Every payload through every channel: `python -m tests.injection [--payloads N] [--seed S]`, from the repository's root.

Prints, by channel, how often the guarded plan changed (0, or it ends with exit code 1), and how often the model did its work all
the same. Without --payloads it is the whole corpus: some 15 minutes of one processor.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from injection.payloads import corpus, sampled
from injection.trial import Trial, every_channel


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payloads", type=int, default=len(corpus()), help="how many, every technique among them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--skip", type=int, default=0, help="the first so many of them, to go on where another run ended"
    )
    asked = parser.parse_args()
    trials: list[Trial] = []
    for payload in sampled(asked.skip + asked.payloads, asked.seed)[asked.skip :]:
        trials += every_channel(payload)
    techniques = Counter(trial.payload.technique for trial in trials)
    say(f"{len({trial.payload for trial in trials})} payloads of {len(techniques)} techniques, {len(trials)} trials")
    say(f"{'channel':28} {'mind':10} {'trials':>7} {'changed':>8} {'unguarded':>10} {'useful':>7}")
    for channel, mind in dict.fromkeys((trial.channel, trial.mind) for trial in trials):
        mine = [trial for trial in trials if (trial.channel, trial.mind) == (channel, mind)]
        counts = [sum(getattr(trial, what) for trial in mine) for what in ("changed", "refused", "useful")]
        say(f"{channel:28} {mind:10} {len(mine):7} {counts[0]:8} {counts[1]:10} {counts[2] / len(mine):7.1%}")
    bad = [trial for trial in trials if trial.changed or trial.refused]
    for trial in bad[:20]:
        say(f"CHANGED {trial.channel} / {trial.mind}: {trial.payload.name[:100]!r}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
