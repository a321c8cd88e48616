"""The `adapter` command."""

from cli import (
    convert,
    evaluate,
    figure,
    methods,
    publish,
    rank,
    report,
    reproduce,
    serve,
    takeaway,
    train,
)
from cli.console import make_app, run

app = make_app(
    "Train and use **ranking-aware adapters** on the features in a featcache cache.\n\n"
    "Start with `adapter train --shards CACHE --out RUN`, then `adapter eval RUN`."
)
app.command(help=train.EXAMPLES)(train.train)
app.command("eval")(evaluate.evaluate)
app.command()(rank.rank)
app.command()(takeaway.undo)
app.command(help=serve.EXAMPLES)(serve.serve)
app.command()(report.report)
app.command()(publish.publish)
app.command(help=reproduce.EXAMPLES)(reproduce.reproduce)
app.command(help=figure.EXAMPLES)(figure.figure)
app.command()(methods.methods)
app.command()(methods.fit)
app.command()(convert.convert)


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
