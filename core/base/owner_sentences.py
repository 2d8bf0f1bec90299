"""Sentences for the owner of this Ponte, in place of those that name the person who runs it."""

from __future__ import annotations

OWNER_SENTENCES = {
    "The audit log could not be written ({cause}). Contact the person who runs Ponte.": (
        "The audit log could not be written ({cause}). Check the disk and the permissions of the "
        "data folder."
    ),
    "The model's server rejected the request ({reason}). Contact the person who runs Ponte.": (
        "The model's server rejected the request ({reason}). Check PONTE_MODEL and "
        "OPENAI_BASE_URL, or run `ponte doctor`."
    ),
    "The bridge cannot reach NocoDB. Try again in a minute. If it keeps failing, contact the "
    "person who runs Ponte.": (
        "The bridge cannot reach NocoDB. Try again in a minute. If it keeps failing, check that "
        "NocoDB is running and that the bridge can connect to it."
    ),
    "NocoDB failed (status {status}). Try again in a minute. If it keeps failing, contact the "
    "person who runs Ponte.": (
        "NocoDB failed (status {status}). Try again in a minute. If it keeps failing, check "
        "NocoDB's log."
    ),
    "OpenAI rejected the code ({reason}). Contact the person who runs Ponte.": (
        "OpenAI rejected the code ({reason}). Check PONTE_CODE and PONTE_CODE_MODEL."
    ),
    "Something went wrong. Your message is saved. Try again. If it keeps failing, give this ID to "
    "the person who runs Ponte: {turn}.": (
        "Something went wrong. Your message is saved. Try again. If it keeps failing, look for "
        "this ID in Ponte's log: {turn}."
    ),
    "I couldn't check in time whether you are a member, so nothing was done. Try again in a "
    "minute. If it keeps failing, contact the person who runs Ponte.": (
        "I couldn't check in time whether you are a member, so nothing was done. Try again in a "
        "minute. If it keeps failing, run `ponte doctor`."
    ),
    "I couldn't save your message. Send it again in a moment. If it keeps failing, contact the "
    "person who runs Ponte.": (
        "I couldn't save your message. Send it again in a moment. If it keeps failing, check the "
        "disk and the permissions of the data folder."
    ),
    "I couldn't save this because it contains something that the database rejects. I won't try "
    "again by myself. Ask in a different way, or contact the person who runs Ponte.": (
        "I couldn't save this because it contains something that the database rejects. I won't "
        "try again by myself. Ask in a different way, or look for the cause in Ponte's log."
    ),
    "Quick commands are not set up. The person who runs Ponte must set STACKSPOT_CLIENT_ID and "
    "STACKSPOT_CLIENT_SECRET.": (
        "Quick commands are not set up. Set STACKSPOT_CLIENT_ID and STACKSPOT_CLIENT_SECRET, then "
        "restart Ponte."
    ),
    "The model's server won't answer you because of earlier requests under your name. Contact the "
    "person who runs Ponte.": (
        "The model's server won't answer you because of earlier requests under your name. Contact "
        "the provider of the model."
    ),
    "Something went wrong. Try again. If it keeps failing, contact the person who runs Ponte; the "
    "cause is in the log.": (
        "Something went wrong. Try again. If it keeps failing, look for the cause in Ponte's log."
    ),
}
"""Sentence for everyone → the sentence for the owner, with the same placeholders or fewer."""
