"""The types of components that there are, and the settings of each: which count here, which do not, which cannot."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Type(msgspec.Struct, frozen=True, kw_only=True):
    """One type. `needs` are settings that have to be there, `idle` those that have no effect here, `never` those that
    cannot be served, each with its reason; they are refused unless they say no."""

    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    never: Mapping[str, str] = {}
    versions: tuple[str, ...] = ("v1",)

    @property
    def names(self) -> tuple[str, ...]:
        """All settings that may be written."""
        return (*self.needs, *self.takes, *self.idle, *self.never)


_CLOUD = "no identity of a cloud is known here"
_OUTBOX = "a workflow or an activity publishes in the transaction of its turn instead"
_CRYPTO = "values would be stored as they come; encrypt them in the app"
_FILES = "certificates of clients are not taken from component files"
_SENTINEL = "name the primary itself"

_STATE = ("keyPrefix", "actorStateStore")
_STATE_NEVER = {
    **dict.fromkeys(("outboxPublishPubsub", "outboxPublishTopic", "outboxPubsub"), _OUTBOX),
    "outboxDiscardWhenMissingState": _OUTBOX,
    **dict.fromkeys(("primaryEncryptionKey", "secondaryEncryptionKey"), _CRYPTO),
}

_REDIS = ("redisUsername", "redisPassword", "enableTLS", "redisDB", "redisType")
_REDIS_IDLE = (
    *("redisMaxRetries", "redisMinRetryInterval", "redisMaxRetryInterval", "maxRetries", "maxRetryBackoff"),
    *("dialTimeout", "readTimeout", "writeTimeout", "poolSize", "poolTimeout", "maxConnAge", "minIdleConns"),
    *("idleCheckFrequency", "idleTimeout"),
)
_REDIS_NEVER = {
    **dict.fromkeys(("clientCert", "clientKey"), _FILES),
    **dict.fromkeys(("failover", "sentinelMasterName", "sentinelUsername", "sentinelPassword"), _SENTINEL),
    "useEntraID": _CLOUD,
}
_REDIS_WORK = ("redeliverInterval", "processingTimeout", "queueDepth", "concurrency")

_POSTGRES_PARTS = ("host", "hostaddr", "port", "database", "user", "password", "sslRootCert")
_POSTGRES_IDLE = (
    "connectionMaxIdleTime",
    "connMaxIdleTime",
    "queryExecMode",
    "maxConns",
    "timeout",
    "timeoutInSeconds",
)
_POSTGRES_NEVER = dict.fromkeys(("useAzureAD", "useAWSIAM", "awsAccessKey", "awsSecretKey"), _CLOUD)
_TABLES = ("tableName", "metadataTableName")

_MODEL = ("model", "endpoint", "temperature", "maxTokens")
_MODEL_IDLE = ("cacheTTL", "responseCacheTTL", "cacheModel")

TYPES: Mapping[str, Type] = {
    # -- state: read by perdure.blocks.state ---------------------------------------------------------------------
    "state.perdure": Type(takes=_STATE, never=_STATE_NEVER),
    "state.in-memory": Type(takes=_STATE, never=_STATE_NEVER),
    "state.sqlite": Type(
        needs=("connectionString",),
        takes=(*_STATE, *_TABLES, "cleanupInterval", "busyTimeout"),
        idle=("timeout", "timeoutInSeconds", "disableWAL"),
        never=_STATE_NEVER,
    ),
    "state.postgresql": Type(
        needs=("connectionString",),
        takes=(*_STATE, *_TABLES, "tablePrefix", "cleanupInterval"),
        idle=_POSTGRES_IDLE,
        never={**_STATE_NEVER, **_POSTGRES_NEVER},
        versions=("v1", "v2"),
    ),
    "state.mysql": Type(
        needs=("connectionString",),
        takes=(*_STATE, *_TABLES, "schemaName", "cleanupInterval"),
        idle=("timeoutInSeconds",),
        never={**_STATE_NEVER, "pemPath": _FILES, "pemContents": _FILES},
    ),
    "state.redis": Type(
        needs=("redisHost",),
        takes=(*_STATE, *_REDIS, "ttlInSeconds"),
        idle=(*_REDIS_IDLE, *_REDIS_WORK, "queryIndexes"),
        never={**_STATE_NEVER, **_REDIS_NEVER},
    ),
    "state.mongodb": Type(
        takes=(
            *(*_STATE, "connectionString", "server", "host", "username", "password", "params", "databaseName"),
            "collectionName",
        ),
        idle=("operationTimeout", "writeconcern", "readconcern"),
        never=_STATE_NEVER,
    ),
    # -- pubsub ------------------------------------------------------------------------------------------------------
    "pubsub.perdure": Type(takes=("consumerID",)),
    "pubsub.in-memory": Type(takes=("consumerID",)),
    "pubsub.redis": Type(
        needs=("redisHost",),
        takes=("consumerID", *_REDIS, "processingTimeout", "maxLenApprox", "streamTTL", "parts"),
        idle=(*_REDIS_IDLE, "redeliverInterval", "queueDepth", "concurrency", "ackOnError"),
        never=_REDIS_NEVER,
    ),
    "pubsub.jetstream": Type(
        needs=("natsURL",),
        takes=("token", "consumerID", "durableName", "queueGroupName", "ackWait", "parts"),
        idle=(
            *("name", "streamName", "maxDeliver", "maxAckPending", "replicas", "memoryStorage", "deliverPolicy"),
            *("domain", "backOff", "concurrency", "startSequence", "startTime", "flowControl", "rateLimit"),
            *("heartbeat", "ackPolicy", "apiPrefix"),
        ),
        never=dict.fromkeys(("jwt", "seedKey", "tls_client_cert", "tls_client_key"), _FILES),
    ),
    # -- secrets: read by perdure.blocks.secrets ----------------------------------------------------------------------
    "secretstores.local.env": Type(takes=("prefix",)),
    "secretstores.local.file": Type(needs=("secretsFile",), takes=("nestedSeparator", "multiValued")),
    # -- configuration -----------------------------------------------------------------------------------------------
    "configuration.perdure": Type(),
    "configuration.redis": Type(
        needs=("redisHost",),
        takes=(*_REDIS, "redisPort"),
        idle=_REDIS_IDLE,
        never={**_REDIS_NEVER, "insecureSkipTLSVerify": "a server that nobody verifies may be anybody"},
    ),
    "configuration.postgresql": Type(
        needs=("connectionString", "table"),
        takes=(*_POSTGRES_PARTS, "notifyChannel"),
        idle=_POSTGRES_IDLE,
        never=_POSTGRES_NEVER,
    ),
    # -- conversation ------------------------------------------------------------------------------------------------
    "conversation.echo": Type(takes=_MODEL, idle=_MODEL_IDLE),
    "conversation.openai": Type(takes=("key", *_MODEL, "apiType", "apiVersion"), idle=_MODEL_IDLE),
    **{
        f"conversation.{name}": Type(takes=("key", *_MODEL), idle=_MODEL_IDLE)
        for name in ("anthropic", "deepseek", "googleai", "huggingface", "mistral", "ollama", "openrouter")
    },
}
"""Every type that can be written in a component file."""

ALIASES: Mapping[str, str] = {
    "state.postgres": "state.postgresql",
    "configuration.postgres": "configuration.postgresql",
    "secretstores.local.localfile": "secretstores.local.file",
}
"""Other words that Dapr has for some of them."""
