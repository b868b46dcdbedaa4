"""The one renderer: ChatML with compact tool schemas, calls as `<tool_call>` JSON, bare final JSON.

Used by training, comparison and serving alike, and written beside every candidate as its chat
template. Each message is encoded by itself, so the tokens of a conversation are a prefix of the
tokens of its continuation. Text is encoded without special tokens: a user who writes
`<|im_end|>` writes eight harmless characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from strop.errors import ConfigError
from strop.records import Message, Tool, ToolCall

# The same text for transformers and whoever else reads a candidate; parity is tested.
CHAT_TEMPLATE = """\
{%- macro list_tools() -%}
{{- 'Tools:' -}}
{%- for t in tools -%}
{{- '\\n' + t.function.name + '(' -}}
{%- for k, v in (t.function.parameters.properties or {}).items() -%}
{%- set plain = v.type is string and not v.enum and v.type not in ['object', 'array'] -%}
{{- k }}{{ '' if k in (t.function.parameters.required or []) else '?' }}: {{ '' -}}
{{- v.type if plain else v | tojson }}
{{- '' if loop.last else ', ' -}}
{%- endfor -%}
{{- ')' }}{{ ': ' + t.function.description if t.function.description else '' -}}
{%- endfor -%}
{%- endmacro -%}
{%- if tools and messages[0].role != 'system' -%}
{{- '<|im_start|>system\\n' + list_tools() + '<|im_end|>\\n' -}}
{%- endif -%}
{%- for m in messages -%}
{{- '<|im_start|>' + m.role + '\\n' + (m.content or '') -}}
{%- if m.role == 'system' and loop.first and tools -%}
{{- '\\n' + list_tools() -}}
{%- endif -%}
{%- for c in m.tool_calls or [] -%}
{%- set arguments = c.function.arguments -%}
{{- '<tool_call>{"name": ' + c.function.name | tojson + ', "arguments": ' -}}
{{- (arguments if arguments is string else arguments | tojson) + '}</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}"""

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


class Renderer:
    """Messages to token ids and back, for one tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.encode_special_tokens = True
        start, end = (self.tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>"))
        if start is None or end is None:
            raise ConfigError(
                "the base model's tokenizer has no ChatML tokens",
                where=str(folder),
                fix="choose a base model with <|im_start|> and <|im_end|>",
            )
        self.start: int = start
        self.end: int = end
        self._newline = self.text("\n")
        self.reply_header = [self.start, *self.text("assistant\n")]

    def text(self, text: str) -> list[int]:
        """Encode plain text, special tokens spelled out."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode token ids, special tokens included."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False)

    def prompt(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """Encode a conversation up to and with the header of the assistant's next turn."""
        return [*self.conversation(messages, tools), *self.reply_header]

    def conversation(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """Encode whole messages; the tools stand at the end of the system turn."""
        ids: list[int] = []
        if tools and (not messages or messages[0].role != "system"):
            ids += self._turn("system", tools_text(tools).removeprefix("\n"))
        for i, message in enumerate(messages):
            body = body_text(message)
            if i == 0 and message.role == "system":
                body += tools_text(tools)
            ids += self._turn(message.role, body)
        return ids

    def after_reply(self, results: Sequence[Message]) -> list[int]:
        """Encode what follows a sampled turn that ended with `<|im_end|>`: results, next header."""
        ids = list(self._newline)
        for message in results:
            ids += self._turn(message.role, body_text(message))
        return [*ids, *self.reply_header]

    def reply(self, message: Message) -> list[int]:
        """Encode an assistant turn as the model is to write it, `<|im_end|>` included."""
        return [*self.text(body_text(message)), self.end]

    def _turn(self, role: str, body: str) -> list[int]:
        header = [self.start, *self.text(f"{role}\n")]
        return [*header, *self.text(body), self.end, *self._newline]


def body_text(message: Message) -> str:
    """Return the text of one turn: content, then one `<tool_call>` for each call."""
    calls = "".join(
        f'<tool_call>{{"name": {_dumps(c.name)}, "arguments": {compact_arguments(c)}}}</tool_call>'
        for c in message.tool_calls
    )
    return (message.content or "") + calls


def tools_text(tools: Sequence[Tool]) -> str:
    """Return the signatures that stand at the end of the system turn, a line a tool.

    `name(required: type, optional?: type): description`; a parameter that is more than a plain type
    carries its whole JSON schema.
    """
    if not tools:
        return ""
    return "\nTools:\n" + "\n".join(_signature(tool) for tool in tools)


def _signature(tool: Tool) -> str:
    properties: dict[str, Any] = tool.parameters.get("properties") or {}
    required: list[str] = tool.parameters.get("required") or []
    parts: list[str] = []
    for key, schema in properties.items():
        kind = schema.get("type")
        plain = isinstance(kind, str) and not schema.get("enum") and kind not in ("object", "array")
        parts.append(f"{key}{'' if key in required else '?'}: {kind if plain else _dumps(schema)}")
    description = f": {tool.description}" if tool.description else ""
    return f"{tool.name}({', '.join(parts)}){description}"


def compact_arguments(call: ToolCall) -> str:
    """Return a call's arguments as one-line JSON in the order given; unparsable text as it is."""
    parsed = call.parsed()
    return call.arguments if parsed is None else _dumps(parsed)


def parse_reply(text: str, first_call: int = 0) -> Message:
    """Read a sampled turn: tool calls where they are well formed, else plain content.

    A malformed call makes the whole turn content: data for the grader, not a crash.
    first_call numbers the call ids of the conversation.
    """
    calls: list[ToolCall] = []
    for match in _CALL.finditer(text):
        try:
            raw = json.loads(match[1])
        except ValueError:
            return Message(role="assistant", content=text)
        if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
            return Message(role="assistant", content=text)
        arguments = raw.get("arguments", {})
        if not isinstance(arguments, dict):
            return Message(role="assistant", content=text)
        calls.append(ToolCall(f"call_{first_call + len(calls)}", raw["name"], _dumps(arguments)))
    if not calls:
        return Message(role="assistant", content=text)
    content = _CALL.sub("", text).strip()
    return Message(role="assistant", content=content or None, tool_calls=tuple(calls))


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
