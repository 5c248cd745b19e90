// Which key was pressed, where browsers and keyboards tell it differently.

// Whether an input method is composing (Korean, Japanese, Chinese, dead keys). In Safari, the key that ends the
// composition comes after it and says false; its code 229 tells.
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

// The place of a key on the keyboard, such as KeyL, Digit1 or Space; from its character where there is none, as with
// keyboards on the screen and some remote desktops.
export function codeOf(event) {
  if (event.key === " ") return "Space";
  if (/^(Key[A-Z]|Digit[0-9])$/.test(event.code)) return event.code;
  if (/^[a-z]$/i.test(event.key)) return `Key${event.key.toUpperCase()}`;
  return /^[0-9]$/.test(event.key) ? `Digit${event.key}` : event.code;
}
