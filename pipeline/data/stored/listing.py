"""The list of a dataset's files, kept in the run: a bucket lists a thousand of them a request."""

from pipeline import schema
from pipeline.config import RunSpec
from pipeline.data.formats.dataset import Dataset, Found
from pipeline.data.formats.files import Listing
from pipeline.data.samples import Asked
from pipeline.data.store import Store
from pipeline.data.stored.tables import intact, read_table

_FOLDER = b"folder"


def keep_listing(run: Store, dataset: Dataset) -> None:
    """Keep in the run which files a dataset has; addresses with a signature are nothing to keep.

    Raises:
        WriteError: it could not be stored.
    """
    listing = dataset.listing
    if any(listing.unsigned(name) != name for name in listing.files):
        return
    columns = {"name": list(listing.files), "bytes": list(listing.files.values())}
    try:
        table = schema.table_of(columns, schema.LISTED)
    except UnicodeEncodeError:  # the names on a disk may be any bytes
        return
    table = table.replace_schema_metadata({_FOLDER: listing.store.url})
    run.write_table(schema.LISTING, table)


def kept_listing(run: Store, spec: RunSpec) -> Found | None:
    """The files that a run was mined from, as they were then; None where they are not kept.

    Raises:
        IncompleteError: the list is damaged.
    """
    try:
        table = read_table(run, schema.LISTING, schema.LISTED)
    except FileNotFoundError:
        return None
    with intact(run, schema.LISTING):
        folder = run.at(table.schema.metadata[_FOLDER].decode())
        files = dict(zip(table["name"].to_pylist(), table["bytes"].to_pylist(), strict=True))
    listing = Listing(spec.data, folder, files, is_folder=False)
    found = Found(listing, spec.format, Asked.by(spec))
    return found if found.fingerprint == spec.fingerprint else None
