"""The `featcache` command."""

from cli import caches, datasets, extract, maintenance, publish, transfer
from cli.console import make_app, run

app = make_app(
    "Run a frozen CLIP backbone over images **once**, and keep the features in a cache on disk."
    "\n\nStart with `featcache extract --dataset folder --root DIR --out CACHE`."
)
app.command(help=extract.EXAMPLES)(extract.extract)
app.command()(caches.info)
app.command()(caches.prompts)
app.command()(caches.labels)
app.command()(datasets.datasets)
app.command()(maintenance.verify)
app.command()(maintenance.repair)
app.command()(maintenance.merge)
app.command()(maintenance.compact)
app.command()(maintenance.export)
app.command()(transfer.copy)
app.command()(publish.card)


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
