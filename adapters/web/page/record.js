// A voice message, where the model's server writes down what is said. The recording is attached like a file.

import { attach } from "./composer.js";
import { $, loadStyle, make, notice } from "./element.js";
import { icon } from "./icons.js";
import { say } from "./words.js";

const TYPES = { "audio/webm;codecs=opus": "webm", "audio/mp4": "m4a", "audio/ogg;codecs=opus": "ogg" };
const BITS = 32000; // a second: enough for speech
const MOST = 20 * 60; // seconds, as core/voice/__init__.py has it
const MICROPHONE = "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5 11a7 7 0 0 0 14 0M12 18v3";
const SQUARE = "M7 7h10v10H7z";
let recorder;
let button;

/** Show the button, if this browser can record here: the microphone needs https, or this machine. */
export function start() {
  if (button || !navigator.mediaDevices?.getUserMedia || !type()) return;
  button = make("button", { type: "button", id: "record", on: { click: toggle } });
  draw();
  $("quick").after(button);
}

function type() {
  return Object.keys(TYPES).find((one) => window.MediaRecorder?.isTypeSupported(one));
}

function draw(seconds) {
  const isOn = seconds !== undefined;
  const time = isOn ? make("span", { text: `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` }) : "";
  button.replaceChildren(icon(isOn ? SQUARE : MICROPHONE), time);
  button.title = say(isOn ? "record_stop" : "record");
  button.setAttribute("aria-label", button.title);
  button.classList.toggle("recording", isOn);
}

async function toggle() {
  if (recorder) return recorder.stop();
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    return notice(say("record_refused"));
  }
  notice("");
  const pieces = [];
  let seconds = 0;
  recorder = new MediaRecorder(stream, { mimeType: type(), audioBitsPerSecond: BITS });
  const clock = setInterval(() => {
    seconds += 1;
    draw(seconds);
    if (seconds >= MOST) recorder.stop();
  }, 1000);
  recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
  recorder.addEventListener("stop", () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
    const kind = type();
    recorder = undefined;
    draw();
    attach([new File(pieces, `voice.${TYPES[kind]}`, { type: kind.split(";")[0] })]);
  });
  recorder.start();
  draw(seconds);
}

await loadStyle("record.css");
