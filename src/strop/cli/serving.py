"""serve: OpenAI's API over the champion, and OTLP in."""

from __future__ import annotations

import click

from strop.cli.session import Session, command


@command("serve")
@click.option("--candidate", metavar="ID", help="Serve this candidate instead of the champion.")
@click.option("--host", help="Address to listen on (serve.host).")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on (serve.port); 0 takes a free one."
)
@click.option("--no-key", is_flag=True, help="Ask for no key; loopback only.")
def serve(session: Session, candidate: str | None, host: str | None, port: int | None, no_key: bool) -> None:
    """Serve the champion with OpenAI's API, capture what is served, and receive traces over OTLP.

    The key that callers send stands in the environment variable that serve.api_key_env names.
    """
    session.override("serve.host", host)
    session.override("serve.port", port)
    from strop.serve.open import open_app
    from strop.serve.run import run

    settings = session.config.serve
    received = any(source.kind == "otlp" for source in session.config.sources)

    def announce(base_url: str) -> None:
        otlp = f"{base_url}/traces" if received else None
        session.emit({"base_url": base_url, "otlp": otlp})
        if not session.json:
            traces = f"traces: {otlp}" if otlp else "no traces come in: no source of kind otlp"
            session.out.print(f"serving {base_url}   {traces}   (Ctrl-C ends it)", highlight=False)

    with session.store() as db:
        app = open_app(session.config, db, candidate_id=candidate, no_key=no_key)
        run(app, host=settings.host, port=settings.port, announce=announce)
