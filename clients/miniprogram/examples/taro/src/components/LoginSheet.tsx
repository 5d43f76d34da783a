import { Button, Text, View } from "@tarojs/components";
import Taro from "@tarojs/taro";
import { useEffect, useMemo, useState } from "react";
import { phoneButton } from "menshen-miniprogram/phone";
import { client, sheet, useSession } from "../services/session";
import { SmsForm } from "./SmsForm";

/** Opens by itself when a request needs a user; the request goes on after the login. */
export function LoginSheet() {
  const inWechat = Taro.getEnv() === Taro.ENV_TYPE.WEAPP;
  const { status } = useSession();
  const button = useMemo(() => phoneButton(client), []);
  const [shown, setShown] = useState(false);
  const [agreed, setAgreed] = useState(false);
  const [bySms, setBySms] = useState(!inWechat);
  const [hint, setHint] = useState("");

  useEffect(() => {
    sheet.open = () => setShown(true);
    return () => client.cancelSignIn();
  }, []);
  useEffect(() => {
    if (status === "signed-in") setShown(false);
  }, [status]);

  if (!shown) return null;
  const run = (work: () => Promise<unknown>) =>
    agreed ? work().then(() => setHint(""), (error) => setHint(error.zh)) : setHint("请先阅读并同意用户协议与隐私政策");
  const close = () => {
    setShown(false);
    client.cancelSignIn();
  };

  return (
    <View>
      <View className="mask" onClick={close} />
      <View className="sheet">
        <View className="row">
          <Text className="name">登录后继续</Text>
          <Text className="muted close" onClick={close}>取消</Text>
        </View>
        {!bySms && <View className="button wechat" onClick={() => run(() => client.signIn())}>微信一键登录</View>}
        {!bySms && agreed && (
          <Button className="button plain" openType="getPhoneNumber" onGetPhoneNumber={({ detail }) => run(() => button.tapped(detail as object))}>
            手机号快捷登录
          </Button>
        )}
        {bySms && agreed && <SmsForm />}
        {bySms && !agreed && <View className="muted">同意协议后可用短信验证码登录</View>}
        {inWechat && <View className="muted other" onClick={() => setBySms(!bySms)}>{bySms ? "使用微信登录" : "短信验证码登录"}</View>}
        <View className="consent" onClick={() => setAgreed(!agreed)}>
          <View className={`box ${agreed ? "checked" : ""}`}>{agreed ? "✓" : ""}</View>
          <Text className="muted">我已阅读并同意《用户协议》和《隐私政策》</Text>
        </View>
        {hint && <View className="error">{hint}</View>}
      </View>
    </View>
  );
}
