"""A small process that turns regexes into byte automata with outlines-core; its parent may kill it at any time.

Runs as a script, alone: determinising a regex can take any time and memory, and the library neither stops nor fails
cleanly. It imports nothing of this package, so that it starts in 20 ms. Started by `dfa_client`.
"""

import json
import resource
import sys
from array import array
from typing import Any, BinaryIO

# Characters that stand for the start and the end of the text, as tokens of their own: the library looks for the first
# match and prunes what comes after one; with every match put off to the end sentinel there is nothing to prune. The
# empty alternative keeps its unanchored search from growing states of its own.
START, START_ID = b"\xf4\x8f\xbf\xbf", 257
END, END_ID = b"\xf4\x8f\xbf\xbe", 258
WRAPPED = r"(?:\x{10FFFF}(?:%s)\x{10FFFE})|"


def main() -> None:
    """Answer requests from standard input until it closes.

    A request is a line: the pattern as JSON. The answer is a line of JSON, `{"error": ...}` or `{"start": state,
    "states": n, "transitions": m}`, then int32 arrays: n states, n numbers of transitions, n flags (accepting), m
    bytes, m next states.
    """
    sys.path.append(sys.argv[1])  # where outlines_core lies: this interpreter runs without site-packages
    memory = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    from outlines_core.outlines_core import Index, Vocabulary

    single_bytes = {bytes([byte]): [byte] for byte in range(256)}
    vocabulary = Vocabulary(256, {**single_bytes, START: [START_ID], END: [END_ID]})
    for line in sys.stdin.buffer:
        try:
            index = Index(WRAPPED % json.loads(line), vocabulary)
        except ValueError as error:
            _send_header(sys.stdout.buffer, {"error": str(error)[-200:]})
            continue
        _send(sys.stdout.buffer, index)


def _send(out: BinaryIO, index: Any) -> None:
    transitions = index.get_transitions()
    final = index.get_final_states()
    states, counts, flags, labels, targets = (array("i") for _ in range(5))
    for state, row in transitions.items():
        states.append(state)
        flags.append(row.pop(END_ID, None) in final)
        counts.append(len(row))
        labels.extend(row)
        targets.extend(row.values())
    start = transitions[index.get_initial_state()].get(START_ID, -1)
    _send_header(out, {"start": start, "states": len(states), "transitions": len(labels)})
    for column in (states, counts, flags, labels, targets):
        out.write(column.tobytes())
    out.flush()


def _send_header(out: BinaryIO, header: dict[str, object]) -> None:
    out.write(json.dumps(header).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
