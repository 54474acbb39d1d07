"""The `ramify` command on the fake backend: what it prints, where, and with which exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap

import pytest

import ramify
from ramify.__main__ import main
from ramify.interpreter.cli import LateCommands, command_line
from ramify.interpreter.cli_options import Composition

PROGRAMS = """
    from __future__ import annotations

    import dataclasses

    import helper
    import ramify


    @dataclasses.dataclass
    class Reply:
        text: str


    @ramify.function(temperature=0)
    def ask(s, question: str, count: int = 1, *, tags: list[str] = (), note="none"):
        assert isinstance(count, int) and helper.LOADED
        s += question + ramify.gen("answer", regex="[a-z]{3,9}")
        s += ramify.select("mood", ["good", "bad"])
        return Reply(s["answer"] * count)


    @ramify.function
    def plain(s):
        s += "Once" + ramify.gen("story")


    @ramify.function
    def broken(s):
        s += "x" + ramify.gen("a")
        return 1 / 0


    @ramify.function
    def shows(s, **given):
        s += "x" + ramify.gen("a", regex="a")
        return given


    if __name__ == "__main__":
        raise SystemExit("ran as a script")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "helper.py").write_text("LOADED = True\n")
    path = tmp_path / "programs.py"
    path.write_text(textwrap.dedent(PROGRAMS))
    yield path
    sys.modules.pop("helper", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


def test_version_and_help(call):
    assert call("--version") == (0, f"ramify {ramify.__version__}\n", "")
    code, out, _ = call("run", "--help")
    assert code == 0 and "--temperature" in out and "--input" in out


COMPOSITION = Composition(version="0", open_backend=contextlib.nullcontext, plugins=dict)


def test_the_list_of_commands_shows_each_in_one_line(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call("--help")
    commands = out.partition("Commands:\n")[2].splitlines()
    assert code == 0 and not any("..." in line for line in commands)
    names = [line.split()[0] for line in commands]
    assert names[:8] == ["run", "check", "fmt", "graph", "explain", "generate", "chat", "plugins"]
    assert {"serve", "config"} <= set(names)


def test_help_is_quick_for_it_loads_next_to_nothing():
    code = "import sys\nfrom ramify.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not {"torch", "numpy", "pydantic", "asyncio", "rich", "lark", "httpx", "importlib.metadata"} & loaded


def test_commands_of_another_part_are_loaded_when_they_are_called(capsys):
    def add(app):
        @app.command("one")
        def one(word: str):
            print(f"one {word}")

        @app.command("two")
        def two():
            raise AssertionError

    late = LateCommands({"one": "The first.", "two": "The second."}, add, "extra")
    for arguments, code, text in (
        (["one", "x"], 0, "one x\n"),
        (["one", "--help"], 0, "{word}"),
        (["one"], 2, "'word'"),
    ):
        with pytest.raises(SystemExit) as caught:
            command_line(late)(arguments, obj=COMPOSITION)
        out, err = capsys.readouterr()
        assert caught.value.code == code and text in out + err


def test_commands_whose_modules_are_missing_say_how_to_get_them(capsys):
    def add(app):
        import a_module_that_is_not_there  # noqa: F401

    with pytest.raises(SystemExit) as caught:
        command_line(LateCommands({"one": "The first."}, add, "bells"))(["one"], obj=COMPOSITION)
    assert caught.value.code == 2
    needs = "error: ramify one needs the module 'a_module_that_is_not_there', which an extra adds: "
    assert capsys.readouterr().err == needs + "pip install 'ramify[bells]'\n"


def test_run_prints_variables_and_the_value(call, file):
    code, out, err = call("run", f"{file}:ask", "--backend", "fake", "-i", "question=Hi", "-i", "count=2")
    assert (code, err) == (0, "")
    answer, mood, returned = out.splitlines()
    word = answer.removeprefix("answer: ")
    assert mood in ("mood: good", "mood: bad") and returned == f"returned: Reply(text={word * 2!r})"


def test_run_prints_json(call, file):
    code, out, _ = call("run", f"{file}:ask", "--backend", "fake", "-i", "question=Hi", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["variables"]["answer"] == facts["value"]["text"]
    assert facts["text"].startswith("Hi" + facts["variables"]["answer"]) and facts["usage"]["completion_tokens"] > 0


def test_run_streams_the_whole_text(call, file):
    _, out, _ = call("run", f"{file}:plain", "--backend", "fake", "--json")
    assert call("run", f"{file}:plain", "--backend", "fake", "--stream")[:2] == (0, json.loads(out)["text"] + "\n")


def test_sampling_flags_are_defaults_of_the_program(call, file):
    _, out, _ = call("run", f"{file}:plain", "--backend", "fake", "--max-tokens", "6")
    assert len(out) == len("story: ") + 6 + 1
    _, out, _ = call("run", f"{file}:plain", "--backend", "fake", "--stop", "e", "--stop", "a")
    assert "e" not in out.removeprefix("story: ") and "a" not in out


def test_inputs_come_from_text_files_stdin_and_json(call, file, tmp_path):
    (tmp_path / "note.txt").write_text("from a file")
    inputs = ["-i", "a=x=y", "-i", f"b=@{tmp_path / 'note.txt'}", "-i", "c=@-", "-i", 'd:=[1, {"e": null}]']
    code, out, _ = call("run", f"{file}:shows", "--backend", "fake", "--json", *inputs, stdin="from stdin")
    assert code == 0
    assert json.loads(out)["value"] == {"a": "x=y", "b": "from a file", "c": "from stdin", "d": [1, {"e": None}]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.py"], "there is no file nowhere.py"),
        (["{file}"], "several programs: ask, plain, broken, shows; name one"),
        (["{file}:aks"], "no program 'aks' (did you mean 'ask'?"),
        (["{file}:ask"], "missing arguments: question"),
        (["{file}:ask", "-i", "qestion=x"], "no argument 'qestion' (did you mean 'question'?"),
        (["{file}:ask", "-i", "question"], "not of the form name=value"),
        (["{file}:ask", "-i", "question=a", "-i", "question=b"], "'question' is given twice"),
        (["{file}:ask", "-i", "question=a", "-i", "count=many"], "count='many' is not of type int"),
        (["{file}:ask", "-i", "question:=["], "question:= is not JSON"),
        (["{file}:ask", "-i", "question=@/nowhere/at/all"], "cannot read question=@/nowhere/at/all"),
        (["{file}:ask", "-i", "question=a", "--temperature", "-1"], "temperature must be"),
        (["{file}:ask", "-i", "question=a", "--temperature", "hot"], "--temperature"),
        (["{file}:ask", "-i", "question=a", "--json", "--stream"], "exclude each other"),
        (["{file}:ask", "--tempratur", "1"], "--temperature"),
    ],
)
def test_usage_errors_exit_with_2_and_say_what_to_do(call, file, arguments, message):
    code, out, err = call("run", *(argument.format(file=file) for argument in arguments), "--backend", "fake")
    assert (code, out) == (2, "")
    assert message in " ".join(err.split()) and "Traceback" not in err


def test_errors_of_the_program_exit_with_1_and_their_place(call, file):
    line = textwrap.dedent(PROGRAMS).splitlines().index("    return 1 / 0") + 1
    code, out, err = call("run", f"{file}:broken", "--backend", "fake")
    assert (code, out) == (1, "")
    assert err == f"error: ZeroDivisionError: division by zero ({file}:{line})\n"


def test_an_unknown_backend_lists_what_there_is(call):
    code, _, err = call("generate", "x", "--backend", "fakee")
    assert code == 3 and err.startswith("error: unknown plugin 'fakee'") and "did you mean 'fake'" in err


def test_a_file_that_cannot_be_imported(call, tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text("def f(:\n")
    code, _, err = call("run", path, "--backend", "fake")
    assert code == 1 and "SyntaxError" in err and "wrong.py, line 1" in err and "Traceback" not in err
    path.write_text("x = 1\n")
    assert "holds no program; decorate a function" in " ".join(call("run", path, "--backend", "fake")[2].split())


def test_debug_lets_the_traceback_through(file, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "run", f"{file}:broken", "--backend", "fake"])


def test_generate_continues_a_prompt(call):
    code, out, err = call("generate", "Hello", "--backend", "fake", "--max-tokens", "8")
    assert (code, len(out), err) == (0, 9, "")
    assert call("generate", "-", "--backend", "fake", "--max-tokens", "8", stdin="Hello")[1] == out
    assert call("generate", "Hello", "--backend", "fake", "--regex", "[0-9]{3}")[1].strip().isdigit()
    facts = json.loads(call("generate", "Hello", "--chat", "--json", "--backend", "fake")[1])
    assert facts["text"].startswith("<|user|>Hello<|end|>")
    code, _, err = call("generate", "", "--backend", "fake")
    assert code == 1 and "prompt is empty" in err


@pytest.fixture
def chat(capsys, monkeypatch):
    """Type lines into `ramify chat` on a given backend; return (exit code, stdout, stderr)."""

    def run(backend, lines, *arguments):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        opened = contextlib.nullcontext(backend)
        facts = Composition(version="0", open_backend=lambda *_: opened, plugins=dict)
        with pytest.raises(SystemExit) as caught:
            command_line()(["chat", *arguments], obj=facts)
        return caught.value.code or 0, *capsys.readouterr()

    return run


def test_chat_keeps_the_conversation_until_it_is_reset(chat):
    backend = ramify.FakeBackend([f"answer {number}" for number in range(1, 5)])
    lines = ["Hi", "And?", "", "/nonsense", "/reset", "Again", "/system Be brief", "Last", "/quit", "never read"]
    code, out, err = chat(backend, lines, "--system", "Be kind")
    assert (code, out) == (0, "answer 1\nanswer 2\nanswer 3\nanswer 4\n")
    assert err.startswith("Commands: /reset")
    opening = "<|system|>Be kind<|end|>\n<|user|>"
    assert backend.prompts == [
        f"{opening}Hi<|end|>\n<|assistant|>",
        f"{opening}Hi<|end|>\n<|assistant|>answer 1<|end|>\n<|user|>And?<|end|>\n<|assistant|>",
        f"{opening}Again<|end|>\n<|assistant|>",
        "<|system|>Be brief<|end|>\n<|user|>Last<|end|>\n<|assistant|>",
    ]
    assert all(request.sampling.is_greedy for request in backend.requests)


def test_a_conversation_that_outgrows_the_context_can_be_reset(chat):
    capabilities = dataclasses.replace(ramify.FakeBackend().capabilities, context_len=50)
    backend = ramify.FakeBackend(["fine", "fine again"], capabilities=capabilities)
    code, out, err = chat(backend, ["short", "much longer than that", "/reset", "short"])
    assert (code, out) == (0, "fine\nfine again\n")
    assert "context" in err and "/reset starts a new one" in err


def test_an_interrupted_answer_ends_the_answer_only(chat, monkeypatch):
    def script(request):
        if len(backend.requests) == 1:
            signal.raise_signal(signal.SIGINT)  # noted by the main thread, which waits for the answer
        return "the answer"

    backend = ramify.FakeBackend(script, delay=0.05)
    code, out, err = chat(backend, ["Hi", "Hello"])
    assert (code, out) == (0, "the answer\n") and "(interrupted)" in err
    assert len(backend.prompts[1].split("<|user|>")) == 2


def test_a_failed_answer_tells_the_cause_and_not_where_the_command_keeps_its_gen(call, chat):
    code, out, err = call("generate", "-", "--backend", "fake", stdin="")
    assert (code, out) == (1, "") and err.startswith("error: the prompt is empty; put some text")
    code, _, err = chat(ramify.FakeBackend([ramify.CapacityError("too big")]), ["hi"])
    assert code == 1 and err == "error: too big\n"


def test_plugins_are_listed_by_group(call):
    code, out, _ = call("plugins")
    assert code == 0
    groups = [line for line in out.splitlines() if not line.startswith(" ")]
    assert groups == ["grammars", "backends", "attention", "policies", "models"]
    assert "fake" in out and "ramify.backend.fake:FakeBackend" in out


def in_a_process(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "ramify", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        **options,
    )


def test_the_module_runs_in_a_pipe_without_colours(file):
    process = in_a_process("run", f"{file}:broken", "--backend", "fake")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "") and err.startswith("error: ZeroDivisionError") and "\x1b" not in err


@pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_told_otherwise(file, no_color, is_coloured):
    shown, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "ramify", "run", f"{file}:broken", "--backend", "fake"],
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "NO_COLOR": no_color},
    ) as process:
        process.wait(timeout=60)
    os.close(terminal)
    text = os.read(shown, 10_000)
    os.close(shown)
    assert b"error: " in text.replace(b"\x1b[0m", b"") and (b"\x1b[31m" in text) is is_coloured


def test_ctrl_c_ends_quietly(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(
        "import time, ramify\n@ramify.function\ndef slow(s):\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    process = in_a_process("run", path, "--backend", "fake")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in err
