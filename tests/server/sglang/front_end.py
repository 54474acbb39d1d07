"""Programs in SGLang's own front end, run against a server of ours. Needs the `sglang` wheel; prints what they say.

    python tests/server/sglang/front_end.py http://127.0.0.1:8000

`record.py` runs it behind a recording proxy; the requests it made are replayed by `test_sglang.py` without the wheel.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import sglang as sgl

METHODS = {
    "token_length_normalized": sgl.token_length_normalized,
    "greedy_token_selection": sgl.greedy_token_selection,
    "unconditional_likelihood_normalized": sgl.unconditional_likelihood_normalized,
}


@sgl.function
def question(s: Any, country: str) -> None:
    s += sgl.system("Be brief.")
    s += sgl.user(f"What is the capital of {country}?")
    s += sgl.assistant(sgl.gen("answer", max_tokens=8, temperature=0))


@sgl.function
def choice(s: Any, method: Any) -> None:
    s += "The capital of France is"
    s += sgl.select("city", [" Rome", " Paris", " the city of London"], choices_method=method)


@sgl.function
def forked(s: Any) -> None:
    s += "Names of animals:\n"
    branches = s.fork(3)
    for number, branch in enumerate(branches):
        branch += f"{number}. " + sgl.gen("name", max_tokens=5, temperature=0, stop="\n")
    branches.join()
    s += "All: " + ", ".join(branch["name"] for branch in branches)


@sgl.function
def constrained(s: Any) -> None:
    s += "Number: " + sgl.gen("number", regex=r"[0-9]{3}", max_tokens=8, temperature=0)
    s += " Age: " + sgl.gen("age", dtype=int, max_tokens=6, temperature=0)


def main(url: str) -> None:
    backend = sgl.RuntimeEndpoint(url)
    sgl.set_default_backend(backend)
    said: dict[str, Any] = {"answer": question.run("France")["answer"]}
    for name, method in METHODS.items():
        said[name] = choice.run(method)["city"]
    said["forked"] = forked.run().text()
    state = constrained.run()
    said["number"], said["age"] = state["number"], state["age"]
    said["streamed"] = list(question.run("Italy", stream=True).text_iter("answer"))
    rows = question.run_batch([{"country": name} for name in ("France", "Italy", "Spain")], progress_bar=False)
    said["batch"] = [row["answer"] for row in rows]
    backend.flush_cache()
    said["server_info"] = sorted(backend.get_server_info())[:3]
    print(json.dumps(said, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
