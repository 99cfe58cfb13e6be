"""The language server: which requests there are, and the texts that are open."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, field
from typing import Final

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer

from promptengine.errors import RequestError
from promptengine.language.lsp.answers import LEGEND, WEIGHT_ACTIONS, Document
from promptengine.language.lsp.options import ServerOptions
from promptengine.language.positions import Encoding, Lines
from promptengine.version import __version__

__all__ = ["make_server", "serve"]

_TRIGGERS: Final = ["<", ":", "_", "("]
_MOST_OPEN: Final = 1000
"""Texts at once; those that were opened first are forgotten."""


def serve(options: ServerOptions) -> None:
    """Answer on standard input and output until the client ends it.

    Args:
        options: Where the client sets none.
    """
    # The client shows what comes on standard error; pygls tells there of every message.
    logging.getLogger("pygls").setLevel(logging.CRITICAL)
    server = make_server(options)
    # What was read while opening stays: the collector would look at all of it again and again.
    gc.collect()
    gc.freeze()
    server.start_io()


@dataclass(slots=True)
class _Session:
    """What one client has told.

    Attributes:
        server: Speaks the protocol.
        options: As set last.
        documents: The open texts by their names.
    """

    server: LanguageServer
    options: ServerOptions
    documents: dict[str, Document] = field(default_factory=dict[str, Document])

    def take(self, uri: str, version: int | None, text: str) -> None:
        """Take a text over as it is now, and tell what looks odd in it."""
        chosen = self.server.workspace.position_encoding or types.PositionEncodingKind.Utf16
        encoding: Encoding = types.PositionEncodingKind(chosen).value
        document = Document(uri, version, Lines.of(text, encoding), self.options)
        self.documents[uri] = document
        if len(self.documents) > _MOST_OPEN:
            del self.documents[next(iter(self.documents))]
        self.publish(document)

    def publish(self, document: Document) -> None:
        """Tell what looks odd in a text."""
        found = document.diagnostics()
        told = types.PublishDiagnosticsParams(document.uri, found, document.version)
        self.server.text_document_publish_diagnostics(told)

    def drop(self, uri: str) -> None:
        """Forget a text, and all that was told of it."""
        if self.documents.pop(uri, None) is not None:
            nothing = types.PublishDiagnosticsParams(uri, [])
            self.server.text_document_publish_diagnostics(nothing)

    def configure(self, given: object) -> None:
        """Take options, and read every text anew.

        Raises:
            RequestError: They cannot be.
        """
        self.options = self.options.changed(given)
        for uri, document in list(self.documents.items()):
            self.take(uri, document.version, document.lines.text)


def make_server(options: ServerOptions) -> LanguageServer:
    """Return a server that speaks to one client.

    Args:
        options: Where the client sets none.
    """
    server = LanguageServer(
        "promptengine", __version__, text_document_sync_kind=types.TextDocumentSyncKind.Full
    )
    session = _Session(server, options)
    _add_documents(server, session)
    _add_answers(server, session)
    return server


def _add_documents(server: LanguageServer, session: _Session) -> None:
    """Let a client open, change and close texts, and set options."""

    @server.feature(types.INITIALIZE)
    def initialize(params: types.InitializeParams) -> None:
        try:
            session.configure(params.initialization_options)
        except RequestError as error:
            raise JsonRpcInvalidParams(str(error)) from None

    @server.feature(types.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def configure(params: types.DidChangeConfigurationParams) -> None:
        try:
            session.configure(params.settings)
        except RequestError as error:
            message = types.ShowMessageParams(types.MessageType.Error, f"promptengine: {error}")
            server.window_show_message(message)

    @server.feature(types.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: types.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        session.take(document.uri, document.version, document.text)

    @server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: types.DidChangeTextDocumentParams) -> None:
        if params.content_changes and params.text_document.uri in session.documents:
            document = params.text_document
            session.take(document.uri, document.version, params.content_changes[-1].text)

    @server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: types.DidCloseTextDocumentParams) -> None:
        session.drop(params.text_document.uri)

    _ = (initialize, configure, opened, changed, closed)


def _add_answers(server: LanguageServer, session: _Session) -> None:
    """Answer what a client asks about a text that it has open; nothing is known of others."""
    documents = session.documents

    @server.feature(
        types.TEXT_DOCUMENT_COMPLETION, types.CompletionOptions(trigger_characters=_TRIGGERS)
    )
    def completion(params: types.CompletionParams) -> types.CompletionList | None:
        document = documents.get(params.text_document.uri)
        if document is None:
            return None
        typed = types.CompletionTriggerKind.TriggerCharacter
        explicit = params.context is None or params.context.trigger_kind != typed
        return document.completions(
            params.position, explicit=explicit, snippets=_takes_snippets(server)
        )

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        document = documents.get(params.text_document.uri)
        return None if document is None else document.hover(params.position)

    @server.feature(types.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, LEGEND)
    def tokens(params: types.SemanticTokensParams) -> types.SemanticTokens | None:
        document = documents.get(params.text_document.uri)
        return None if document is None else document.tokens()

    @server.feature(types.TEXT_DOCUMENT_FORMATTING)
    def formatting(params: types.DocumentFormattingParams) -> list[types.TextEdit] | None:
        document = documents.get(params.text_document.uri)
        return None if document is None else document.formatted()

    kinds = [types.CodeActionKind.QuickFix, *WEIGHT_ACTIONS]

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION, types.CodeActionOptions(code_action_kinds=kinds)
    )
    def actions(params: types.CodeActionParams) -> list[types.CodeAction] | None:
        document = documents.get(params.text_document.uri)
        return None if document is None else document.actions(params.range, params.context.only)

    _ = (completion, hover, tokens, formatting, actions)


def _takes_snippets(server: LanguageServer) -> bool:
    """Return whether a client selects a part of what it puts in."""
    asked = server.client_capabilities.text_document
    item = asked and asked.completion and asked.completion.completion_item
    return bool(item and item.snippet_support)
